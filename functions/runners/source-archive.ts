import { Problem } from "../errors.ts";
import { SOURCES_LIMIT_BYTES } from "../protocol/limits.ts";

/** A gzipped tar on its way through. */
export interface SourceArchive {
  body: ReadableStream<Uint8Array>;
  /** As the sender declares it; null: it goes on until it ends. */
  length: number | null;
  /** After the body was sent on: throws if it was broken off for its size. */
  check(): void;
}

/** The archive that a request carries. Throws a `Problem` when it can't be one. */
export function sourceArchive(request: Request): SourceArchive {
  if (!/^application\/(?:x-)?gzip\s*(?:;|$)/i.test(request.headers.get("content-type") ?? "")) {
    const message = "must be application/gzip";
    throw new Problem("unsupported_media_type", `Content-Type ${message}: send a gzipped tar.`, {
      errors: [{ field: "header.content-type", message }],
    });
  }
  if (request.body === null) throw invalid("is required: send a gzipped tar");
  const length = request.headers.get("content-length");
  if (length !== null && Number(length) > SOURCES_LIMIT_BYTES) throw tooLarge();
  if (length !== null) return { body: request.body, length: Number(length), check: () => undefined };
  return limited(request.body);
}

/** Counts what has no declared length, and breaks it off beyond the limit. */
function limited(body: ReadableStream<Uint8Array>): SourceArchive {
  let bytes = 0;
  const counter = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      bytes += chunk.byteLength;
      if (bytes > SOURCES_LIMIT_BYTES) controller.error(tooLarge());
      else controller.enqueue(chunk);
    },
  });
  return {
    body: body.pipeThrough(counter),
    length: null,
    check: () => {
      if (bytes > SOURCES_LIMIT_BYTES) throw tooLarge();
    },
  };
}

function tooLarge(): Problem {
  return new Problem("body_too_large", `A source archive has at most ${SOURCES_LIMIT_BYTES} bytes.`, {
    errors: [{ field: "body", message: `must be at most ${SOURCES_LIMIT_BYTES} bytes` }],
  });
}

function invalid(message: string): Problem {
  return new Problem("invalid_request", `The body ${message}.`, { errors: [{ field: "body", message }] });
}
