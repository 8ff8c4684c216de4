/**
 * The wire holds header values and status texts as bytes, one character each. The platform shows them to a script
 * decoded from UTF-8 and encodes what a script sets.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NON_ASCII = /[^\0-\u007f]/;

/** The bytes of a value that the platform has decoded. */
export function headerBytes(text: string): string {
  if (!NON_ASCII.test(text)) return text;
  let bytes = "";
  for (const byte of encoder.encode(text)) bytes += String.fromCharCode(byte);
  return bytes;
}

/**
 * What the platform encodes to these bytes again. It can't write bytes that aren't UTF-8: those count as Latin-1, which
 * is what browsers take them for, and leave as UTF-8.
 */
export function headerText(bytes: string): string {
  if (!NON_ASCII.test(bytes)) return bytes;
  try {
    return decoder.decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
  } catch {
    return bytes;
  }
}
