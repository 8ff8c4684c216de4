import { createHash } from "node:crypto";

const CHUNK_BYTES = 64 * 1024;
const filling = Buffer.alloc(CHUNK_BYTES);
for (let index = 0; index < CHUNK_BYTES; index++) filling[index] = (index * 2_654_435_761) >>> 24;

/** So many bytes in chunks that all differ, so that one that is lost, doubled or moved changes the hash. */
export function* bytePattern(bytes: number): Generator<Buffer> {
  for (let sent = 0, index = 0; sent < bytes; index++) {
    const chunk = Buffer.from(filling.subarray(0, Math.min(CHUNK_BYTES, bytes - sent)));
    if (chunk.length >= 4) chunk.writeUInt32BE(index);
    sent += chunk.length;
    yield chunk;
  }
}

export function hashOfPattern(bytes: number): string {
  const hash = createHash("sha256");
  for (const chunk of bytePattern(bytes)) hash.update(chunk);
  return hash.digest("hex");
}
