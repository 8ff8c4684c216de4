/** Takes a line that this process says. */
export type TakesLines = (line: string, isError: boolean) => void;

let taker: TakesLines = toConsole;

/** Says a line: to the console, or where the live view shows it. The line is clean by then. */
export function sayLine(line: string, isError: boolean): void {
  taker(line, isError);
}

/** Sends all lines elsewhere, since a screen that is drawn on can't have them; null: to the console again. */
export function divertLines(to: TakesLines | null): void {
  taker = to ?? toConsole;
}

function toConsole(line: string, isError: boolean): void {
  if (isError) console.error(line);
  else console.log(line);
}
