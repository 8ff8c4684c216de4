import { Transform } from "node:stream";

/** Far more than an image in a message; what is longer is no message of the protocol. */
const LINE_LIMIT_BYTES = 16 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Passes the lines that are JSON objects and drops the rest, which `dropped` is told. Agents print greetings and warnings
 * on the output that is the protocol's, and one overlong line would end the whole stream.
 */
export function jsonLines(
  dropped: (line: string) => void,
  limitBytes: number = LINE_LIMIT_BYTES,
): Transform {
  let parts: Buffer[] = [];
  let bytes = 0;
  let isOverlong = false;
  const take = (target: Transform): void => {
    const line = Buffer.concat(parts);
    parts = [];
    if (isOverlong) dropped(`a line of ${bytes} bytes`);
    else if (isJsonObject(line)) target.push(Buffer.concat([line, Buffer.of(NEWLINE)]));
    else if (line.toString().trim() !== "") dropped(line.toString());
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

function isJsonObject(line: Buffer): boolean {
  const text = line.toString().trim();
  if (!text.startsWith("{")) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
