import { ReadableStream } from "node:stream/web";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { ControlProblem, ControlUnreachable, type ControlClient } from "../../client/control-client.ts";
import { Failure } from "../failure.ts";
import type { Archive } from "../packing/archive.ts";

const ATTEMPTS = 4;
const RETRY_FIRST_MS = 1_000;

const stored = z.object({ sha256: z.string() });

/** Uploads an archive; what breaks off is begun again. `sent` hears how many bytes are on their way. */
export async function upload(
  control: ControlClient,
  path: string,
  archive: Archive,
  sent: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const headers = {
        "content-type": "application/gzip",
        "content-length": String(archive.bytes),
        // A runner refuses what arrives damaged.
        "x-signalbox-sha256": archive.sha256,
      };
      const answer = await control.put(path, countedBody(archive, sent), headers, signal);
      const { sha256 } = stored.safeParse(answer).data ?? {};
      if (sha256 === undefined || sha256 === archive.sha256) return;
      throw new Failure(
        "failed",
        "upload_damaged",
        `The upload arrived damaged: its SHA-256 is ${sha256}, not ${archive.sha256}. Try again.`,
      );
    } catch (error) {
      const passes =
        error instanceof ControlUnreachable ||
        (error instanceof ControlProblem &&
          ([502, 503, 504].includes(error.status) || error.code === "source_not_expected"));
      if (!passes || attempt === ATTEMPTS) throw error;
      await sleep(RETRY_FIRST_MS * 2 ** (attempt - 1), undefined, signal ? { signal } : {});
    }
  }
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
