/** What a terminal obeys, and what reorders a line. */
const UNPRINTABLE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;

/** A text of somebody else's, fit to be shown and stored: of at most `limit` characters, without control characters. */
export function printable(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
  return cut.toWellFormed().replace(UNPRINTABLE, " ");
}
