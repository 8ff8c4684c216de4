import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as limits from "../../functions/protocol/limits.ts";
import { projectRoot } from "../../scripts/build/worker.ts";

/** Constants as `docs/limits.md` shows them. */

export const limitNames: readonly string[] = Object.keys(limits);

/** `NAME` of `functions/protocol/limits.ts`, or `FILE: NAME`. */
export function valueOf(constant: string): unknown {
  const [name = "", file] = constant.split(": ").toReversed();
  if (file === undefined) return (limits as Record<string, unknown>)[name];
  const text = readFileSync(join(projectRoot, file), "utf8");
  const [, expression] = new RegExp(`^(?:export )?const ${name} = ([\\d_ *+]+);$`, "m").exec(text) ?? [];
  if (expression === undefined) throw new Error(`${file} has no number ${name}.`);
  return expression
    .split(" * ")
    .flatMap((factor) => {
      const [base = "", exponent = "1"] = factor.split(" ** ");
      return Number(base.replaceAll("_", "")) ** Number(exponent);
    })
    .reduce((product, factor) => product * factor, 1);
}

export function shown(constant: string, value: unknown): string {
  if (value instanceof RegExp) return `\`${value.source}\``;
  if (constant.startsWith("CLOSE_") || typeof value !== "number") return `\`${String(value)}\``;
  if (constant.endsWith("_BYTES_PER_SECOND")) return bytes(value);
  if (constant.endsWith("_MS")) return duration(value);
  if (constant.endsWith("_SECONDS")) return duration(value * 1_000);
  if (constant.includes("BYTES")) return bytes(value);
  return value.toLocaleString("en");
}

function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let [amount, unit] = [value, 0];
  while (amount >= 1024 && (amount * 4) % 1024 === 0) [amount, unit] = [amount / 1024, unit + 1];
  return `${amount.toLocaleString("en")} ${units[unit]}`;
}

function duration(ms: number): string {
  const units: [string, number][] = [
    ["days", 86_400_000],
    ["h", 3_600_000],
    ["min", 60_000],
    ["s", 1_000],
  ];
  const [name, size] =
    units.find(([, one]) => ms % one === 0 && ms > one) ?? (ms % 1_000 === 0 ? ["s", 1_000] : ["ms", 1]);
  return `${(ms / size).toLocaleString("en")} ${name}`;
}
