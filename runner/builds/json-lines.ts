import { Transform } from "node:stream";
import { isObject } from "../../functions/protocol/control.ts";

/** Far more than an image in a message; what is longer is no message of the protocol. */
const LINE_LIMIT_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

export interface LineReader {
  /** Takes a message, so that it isn't passed on. */
  takes(message: Record<string, unknown>): boolean;
  /** Is told what was no message. */
  dropped(line: string): void;
}

/**
 * Passes the lines that are JSON objects and drops the rest. Agents print greetings and warnings on the output that is
 * the protocol's, and one overlong line would end the whole stream.
 */
export function jsonLines(reader: LineReader, limitBytes: number = LINE_LIMIT_BYTES): Transform {
  let parts: Buffer[] = [];
  let bytes = 0;
  let isOverlong = false;
  const take = (target: Transform): void => {
    const line = Buffer.concat(parts);
    parts = [];
    const message = isOverlong ? null : messageOf(line.toString());
    if (isOverlong) reader.dropped(`a line of ${bytes} bytes`);
    else if (message === null) {
      if (line.toString().trim() !== "") reader.dropped(line.toString());
    } else if (!reader.takes(message)) target.push(Buffer.concat([line, Buffer.of(NEWLINE)]));
    bytes = 0;
    isOverlong = false;
  };
  const add = (part: Buffer): void => {
    bytes += part.length;
    isOverlong ||= bytes > limitBytes;
    if (isOverlong) parts = [];
    else parts.push(part);
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      let from = 0;
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
        add(chunk.subarray(from, end));
        take(this);
        from = end + 1;
      }
      add(chunk.subarray(from));
      done();
    },
    flush(done) {
      take(this);
      done();
    },
  });
}

function messageOf(text: string): Record<string, unknown> | null {
  if (!text.trimStart().startsWith("{")) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
