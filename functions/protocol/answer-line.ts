import { printableLine } from "./printable.ts";

/** Enough of a body to see what it says. */
export const ANSWER_START_BYTES = 1_024;
const LINE_LIMIT = 160;

/** What the start of an answer's body says to a person: a page's title, else the first line, safe to show; or "". */
export function answerLine(contentType: string | null | undefined, start: string): string {
  const text = start.trim();
  const line = /html/i.test(contentType ?? "") ? /<title>([^<]*)/i.exec(text)?.[1] : text.split("\n", 1)[0];
  return printableLine(line?.trim() ?? "", LINE_LIMIT);
}
