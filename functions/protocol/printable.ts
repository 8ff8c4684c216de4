/**
 * Whole sequences: OSC and its kin up to their end, CSI (colours, cursor, clearing), and other escapes of two bytes. None
 * contains the beginning of another: else a text of many beginnings would take quadratic time.
 */
const SEQUENCES =
  // oxlint-disable-next-line no-control-regex
  /(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u0090\u0098\u009c-\u009f\n]*(?:\u0007|\u001b\\|\u009c)|(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]|\u001b[ -/]*[0-Z\\^-~]/g;
/** What is left of control characters but tab and line feed, and what turns the direction of writing or can't be seen. */
// oxlint-disable-next-line no-control-regex
const CONTROLS =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * A text that isn't ours as a terminal may show it: without escape sequences, and with every other control character as
 * a visible sign. Lines and tabs stay.
 *
 * @example printable("\u001b[2Jdone\u0007") // "done␇"
 */
export function printable(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(SEQUENCES, "").replace(CONTROLS, sign).toWellFormed();
}

/** As {@link printable}, in one line and of at most `limit` characters: fit to be stored, too. */
export function printableLine(text: string, limit = Infinity): string {
  const shown = printable(text.length > 4 * limit ? text.slice(0, 4 * limit) : text);
  const line = shown.replace(/[\n\t]+/g, " ");
  return line.length > limit ? `${line.slice(0, limit - 1)}…`.toWellFormed() : line;
}

/** Whether a text is one line that {@link printableLine} leaves as it is. */
export function isPrintable(text: string): boolean {
  return printableLine(text) === text;
}

/** Unicode has pictures of the C0 controls. */
function sign(character: string): string {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "␡" : "\ufffd";
}
