import { ReadableStream } from "node:stream/web";
import { setTimeout as sleep } from "node:timers/promises";
import { ControlProblem, ControlUnreachable, type Upload } from "../../client/control-client.ts";
import { PASSING_STATUSES } from "../../client/control-fetch.ts";
import { Failure } from "../failure.ts";
import type { Archive } from "../packing/archive.ts";

const ATTEMPTS = 4;
const RETRY_FIRST_MS = 1_000;

/**
 * Uploads an archive, again from its beginning when it breaks off. `send` answers the SHA-256 of what was stored, where
 * the other end says it. `sent` hears how many bytes are on their way.
 */
export async function upload(
  send: (upload: Upload) => Promise<string | null>,
  archive: Archive,
  sent: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const { bytes, sha256 } = archive;
  for (let attempt = 1; ; attempt++) {
    try {
      const stored = await send({ body: countedBody(archive, sent), bytes, sha256 });
      if (stored === null || stored === sha256) return;
      throw new Failure(
        "failed",
        "upload_damaged",
        `The upload arrived damaged: its SHA-256 is ${stored}, not ${sha256}. Try again.`,
      );
    } catch (error) {
      if (!passes(error) || attempt === ATTEMPTS) throw error;
      await sleep(RETRY_FIRST_MS * 2 ** (attempt - 1), undefined, signal ? { signal } : {});
    }
  }
}

/** `source_not_expected`: the rollout may not have begun yet. */
function passes(error: unknown): boolean {
  if (error instanceof ControlUnreachable) return true;
  if (!(error instanceof ControlProblem)) return false;
  return PASSING_STATUSES.includes(error.status) || error.code === "source_not_expected";
}

function countedBody(archive: Archive, sent: (bytes: number) => void): ReadableStream<Uint8Array> {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const chunk of archive.open() as AsyncIterable<Uint8Array>) {
      yield chunk;
      bytes += chunk.length;
      sent(bytes);
    }
  }
  return ReadableStream.from(chunks());
}
