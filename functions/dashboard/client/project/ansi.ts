/** A piece of a line that looks the same all over. `look` is a list of classes, of ours alone. */
export interface Piece {
  text: string;
  look: string;
}

interface Look {
  colour: string;
  back: string;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
}

const PLAIN: Look = { colour: "", back: "", bold: false, dim: false, italic: false, underline: false };
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/**
 * What a terminal would be told, cut to text and colours. Everything else of it goes: titles, links, cursor moves, queries.
 * Source: ECMA-48; OSC and its ends as xterm takes them.
 */
const SEQUENCE =
  // oxlint-disable-next-line no-control-regex
  /(?:\u001b\[|\u009b)([0-?]*)[ -/]*([@-~])|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])(?:(?!\u001b\\)[^\u0007\u009c])*(?:\u0007|\u001b\\|\u009c|$)|\u001b[ -/]*[0-~]?/g;
/** Controls that aren't a line's end or a tab. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
/** Characters that turn the order of others round: text with them reads otherwise than it runs. */
const TURNING = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of somebody else, with everything in it to be seen. */
export function visible(text: string): string {
  return text
    .replace(CONTROLS, "\ufffd")
    .replace(TURNING, (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** The lines of what a program wrote. A look goes on over the ends of lines. */
export function ansiLines(text: string): Piece[][] {
  let look = PLAIN;
  return lastStates(text).map((line) => {
    const read = ansiLine(line, look);
    look = read.look;
    return read.pieces;
  });
}

export function ansiText(text: string): string {
  return ansiLines(text)
    .map((line) => line.map((piece) => piece.text).join(""))
    .join("\n");
}

/** A program that draws a line anew goes back to its start: what it drew last is what is to be seen. */
function lastStates(text: string): string[] {
  return text.split(/\r*\n/).map((line) => line.replace(/\r+$/, "").split("\r").at(-1) ?? "");
}

function ansiLine(line: string, before: Look): { pieces: Piece[]; look: Look } {
  const pieces: Piece[] = [];
  let look = before;
  let from = 0;
  const add = (text: string): void => {
    if (text !== "") pieces.push({ text: visible(text.replaceAll("\b", "")), look: classesOf(look) });
  };
  for (const found of line.matchAll(SEQUENCE)) {
    add(line.slice(from, found.index));
    from = found.index + found[0].length;
    if (found[2] === "m") look = changed(look, found[1] ?? "");
  }
  add(line.slice(from));
  return { pieces, look };
}

function changed(before: Look, parameters: string): Look {
  const codes = parameters.split(/[;:]/).map(Number);
  let look = before;
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index] ?? 0;
    if (code === 38 || code === 48) {
      // A colour by number or by its parts, which has no class of ours.
      index += codes[index + 1] === 5 ? 2 : 4;
      continue;
    }
    look = next(look, code);
  }
  return look;
}

function next(look: Look, code: number): Look {
  switch (code) {
    case 0:
      return PLAIN;
    case 1:
      return { ...look, bold: true };
    case 2:
      return { ...look, dim: true };
    case 3:
      return { ...look, italic: true };
    case 4:
      return { ...look, underline: true };
    case 22:
      return { ...look, bold: false, dim: false };
    case 23:
      return { ...look, italic: false };
    case 24:
      return { ...look, underline: false };
    case 39:
      return { ...look, colour: "" };
    case 49:
      return { ...look, back: "" };
    default: {
      const [tens, ones] = [Math.floor(code / 10), code % 10];
      const colour = COLOURS[ones];
      if (colour === undefined) return look;
      if (tens === 3 || tens === 9) return { ...look, colour };
      return tens === 4 || tens === 10 ? { ...look, back: colour } : look;
    }
  }
}

function classesOf({ colour, back, bold, dim, italic, underline }: Look): string {
  return [
    colour && `ansi-${colour}`,
    back && `ansi-back-${back}`,
    bold && "ansi-bold",
    dim && "ansi-dim",
    italic && "ansi-italic",
    underline && "ansi-underline",
  ]
    .filter((one) => one !== false && one !== "")
    .join(" ");
}
