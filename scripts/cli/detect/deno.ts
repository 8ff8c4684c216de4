import { z } from "zod";
import { entryFile } from "./entry-file.ts";
import { readFirst, type ProjectFiles } from "./project-files.ts";
import type { Recognised } from "./recognised.ts";

const configuration = z.object({ tasks: z.record(z.string(), z.unknown()).catch({}).default({}) });

/** A Deno project: it has Deno's configuration or lockfile, or a file that only Deno can run. */
export function denoProject(files: ProjectFiles): Recognised | null {
  const text = readFirst(files, ["deno.json", "deno.jsonc"]);
  const entry = entryFile(files, null, /\bDeno\.serve\(/);
  if (text === "" && entry === null && !files.has("deno.lock")) return null;
  const tasks = tasksOf(text);
  const build = "build" in tasks ? { command: "deno task build", why: "the build task of deno.json" } : null;
  return { name: "Deno", build, start: startOf(files, tasks, entry) };
}

function startOf(
  files: ProjectFiles,
  tasks: Record<string, unknown>,
  entry: string | null,
): Recognised["start"] {
  // Deno.serve listens on 8000 unless this says otherwise.
  const address = 'DENO_SERVE_ADDRESS="tcp:$HOST:$PORT"';
  if ("start" in tasks) return { command: `${address} deno task start`, why: "the start task of deno.json" };
  if (entry !== null) {
    return { command: `${address} deno run --allow-all ${entry}`, why: `${entry} calls Deno.serve` };
  }
  const served = entryFile(files, null, /export default\s*\{[^]*?\bfetch\b/);
  if (served === null) return null;
  return {
    command: `deno serve --allow-all --host "$HOST" --port "$PORT" ${served}`,
    why: `${served} exports a fetch handler`,
  };
}

function tasksOf(text: string): Record<string, unknown> {
  try {
    // Whole lines of comments and commas before a bracket are all that people add to JSON here.
    return configuration.parse(JSON.parse(text.replace(/^\s*\/\/.*$/gm, "").replace(/,(\s*[}\]])/g, "$1")))
      .tasks;
  } catch {
    return {}; // Deno will say what is wrong with it
  }
}
