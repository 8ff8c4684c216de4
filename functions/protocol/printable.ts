/** Control characters, which a terminal obeys, and those that reorder a line. */
const UNPRINTABLE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu;

/** Whether {@link printable} would leave it as it is, if it is short enough. */
export function isPrintable(text: string): boolean {
  return text.isWellFormed() && text.search(UNPRINTABLE) === -1;
}

/** Somebody else's text, safe to show: at most `limit` characters, without control characters. */
export function printable(text: string, limit: number): string {
  const cut = text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
  return cut.toWellFormed().replace(UNPRINTABLE, " ");
}
