/** How much of a document is looked at; what hasn't begun its head by then is left as it is. */
export const PROLOGUE_LIMIT_BYTES = 16_384;

const LESS_THAN = 0x3c;
const GREATER_THAN = 0x3e;
const QUOTES = new Set([0x22, 0x27]);
const SPACES = new Set([0x09, 0x0a, 0x0c, 0x0d, 0x20]);

/**
 * Where a script goes so that it runs before everything of the page: right behind `<head>`, or where the parser would
 * begin one by itself. Returns an offset, "more" while that isn't decided by these bytes, or null where it never will.
 *
 * Works on bytes, so it fits every encoding that ASCII is a part of.
 */
export function insertionPoint(bytes: Uint8Array): number | "more" | null {
  // UTF-16 says so by its first two bytes, where no header does.
  if (startsWith(bytes, 0, "\xfe\xff") || startsWith(bytes, 0, "\xff\xfe")) return null;
  let at = startsWith(bytes, 0, "\xef\xbb\xbf") ? 3 : 0;
  for (;;) {
    while (SPACES.has(bytes[at] ?? -1)) at += 1;
    if (at >= bytes.length) return undecided(bytes);
    if (bytes[at] !== LESS_THAN) return isMarkCut(bytes) ? "more" : at;
    const end = endOfMarkup(bytes, at);
    if (end === null) return undecided(bytes);
    const name = tagName(bytes, at);
    if (name === "head") return end;
    const isPrologue = name === "html" || bytes[at + 1] === 0x21 || bytes[at + 1] === 0x3f;
    if (!isPrologue) return at;
    at = end;
  }
}

/** A byte order mark of which the rest is still to come. */
function isMarkCut(bytes: Uint8Array): boolean {
  return (
    bytes.length < 3 &&
    ["\xef\xbb\xbf", "\xfe\xff", "\xff\xfe"].some((mark) => startsWith(bytes, 0, mark.slice(0, bytes.length)))
  );
}

function undecided(bytes: Uint8Array): "more" | null {
  return bytes.length < PROLOGUE_LIMIT_BYTES ? "more" : null;
}

/** The offset behind a tag, comment, doctype or processing instruction; null while its end isn't there. */
function endOfMarkup(bytes: Uint8Array, start: number): number | null {
  if (startsWith(bytes, start, "<!--")) return endOfComment(bytes, start + 4);
  if (bytes.length - start < 4 && startsWith(bytes, start, "<!--".slice(0, bytes.length - start)))
    return null;
  const hasAttributes = bytes[start + 1] !== 0x21 && bytes[start + 1] !== 0x3f;
  let quote: number | null = null;
  let beforeValue = false;
  for (let at = start + 1; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (quote !== null) {
      if (byte === quote) quote = null;
    } else if (byte === GREATER_THAN) {
      return at + 1;
    } else if (hasAttributes && beforeValue && QUOTES.has(byte)) {
      quote = byte;
    }
    // A quote counts only where a value begins: `<html a'b>` ends at its first >.
    if (byte === 0x3d) beforeValue = true;
    else if (!SPACES.has(byte)) beforeValue = false;
  }
  return null;
}

/** `<!-->` and `<!--->` are whole comments. */
function endOfComment(bytes: Uint8Array, from: number): number | null {
  if (bytes[from] === GREATER_THAN) return from + 1;
  if (startsWith(bytes, from, "->")) return from + 2;
  for (let at = from; at < bytes.length; at++) {
    if (startsWith(bytes, at, "-->")) return at + 3;
    if (startsWith(bytes, at, "--!>")) return at + 4;
  }
  return null;
}

function tagName(bytes: Uint8Array, start: number): string {
  let name = "";
  for (let at = start + 1; at < bytes.length && name.length < 8; at++) {
    const byte = bytes[at] ?? 0;
    if (SPACES.has(byte) || byte === GREATER_THAN || byte === 0x2f) break;
    name += String.fromCharCode(byte);
  }
  return name.toLowerCase();
}

function startsWith(bytes: Uint8Array, at: number, text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (bytes[at + index] !== text.charCodeAt(index)) return false;
  }
  return true;
}
