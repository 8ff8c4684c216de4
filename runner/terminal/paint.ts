import { printableLine } from "../../functions/protocol/printable.ts";

const CODES = { bold: 1, dim: 2, inverse: 7, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Look = keyof typeof CODES;

/** A piece of a line. Its text is somebody else's until it is drawn. */
export interface Piece {
  text: string;
  look?: Look | undefined;
}

export type Line = readonly (Piece | string)[];

/**
 * A line as the terminal gets it: `columns` wide at most, and no control sequence in it but our own. A character outside
 * ASCII counts as two columns, as wide as any is in any terminal.
 */
export function paintLine(line: Line, columns: number, isColoured: boolean): string {
  let room = columns;
  let painted = "";
  for (const piece of line) {
    const { text, look } = typeof piece === "string" ? { text: piece, look: undefined } : piece;
    const clean = printableLine(text);
    let shown = "";
    for (const character of clean) {
      const width = character > "\u007f" ? 2 : 1;
      if (width > room) {
        room = 0;
        break;
      }
      room -= width;
      shown += character;
    }
    painted +=
      look !== undefined && isColoured && shown !== "" ? `\u001b[${CODES[look]}m${shown}\u001b[0m` : shown;
    if (room === 0) break;
  }
  return painted;
}

/** Fills up or cuts to so many columns. */
export function padded(text: string, columns: number): string {
  const clean = printableLine(text);
  return clean.length > columns ? `${clean.slice(0, columns - 1)}…` : clean.padEnd(columns);
}
