import { readFileSync } from "node:fs";

/** Set by a bundler (esbuild `define`) to the built text of `browser/client.ts`: a bundle has no file to read. */
declare const SIGNALBOX_CLIENT_SCRIPT: string | undefined;

let stripped: string | undefined;

/**
 * The browser helper as a classic script.
 * @throws {Error} when it is neither built in nor next to this file.
 */
export function clientScript(): string {
  if (typeof SIGNALBOX_CLIENT_SCRIPT === "string") return SIGNALBOX_CLIENT_SCRIPT;
  stripped ??= stripTypes(readSource());
  return stripped;
}

function readSource(): string {
  try {
    return readFileSync(new URL("./browser/client.ts", import.meta.url), "utf8");
  } catch (cause) {
    throw new Error(
      "The browser helper's source is missing: a bundle of the sdk must define SIGNALBOX_CLIENT_SCRIPT",
      { cause },
    );
  }
}

function stripTypes(source: string): string {
  // Asked for at run time, since a static import would keep the sdk from loading where it doesn't exist.
  const strip = process.getBuiltinModule("node:module").stripTypeScriptTypes;
  if (strip === undefined)
    throw new Error("Serving the browser helper from source needs Node 22.13 or newer");
  // oxlint-disable-next-line typescript/unbound-method -- put back as it was, not called
  const { emitWarning } = process;
  // Node calls this function experimental on every app's first log line; our tests say whether it works.
  process.emitWarning = () => {};
  try {
    return strip(source);
  } finally {
    process.emitWarning = emitWarning;
  }
}
