import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { buildWorker } from "./build-worker.ts";

const file = await buildWorker();
const bytes = await readFile(file);
console.log(`dist/worker.js: ${kib(bytes.length)}, ${kib(gzipSync(bytes).length)} gzipped`);

function kib(size: number): string {
  return `${(size / 1024).toFixed(1)} KiB`;
}
