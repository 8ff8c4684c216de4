import { Failure } from "./failure.ts";

const UNITS: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

/** `3 min`: how long ago a moment was, in its largest unit. */
export function age(moment: string, now: number): string {
  return span(now - Date.parse(moment));
}

/** A length of time in its largest unit. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const [size, unit] = UNITS.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

/** `1.3 s`: how long a step took. */
export function duration(ms: number): string {
  if (ms < 60_000) return `${(Math.max(0, ms) / 1_000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1_000)} s`;
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  return count < 1024 ** 2 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 1024 ** 2).toFixed(1)} MiB`;
}

const SECONDS: Record<string, number> = { m: 60, h: 3_600, d: 86_400 };

/** Of a flag's `30m`, `12h` or `7d`. */
export function secondsOf(flag: string, text: string): number {
  const [, number = "", unit = ""] = /^(\d{1,4})([mhd])$/.exec(text) ?? [];
  const seconds = Number(number) * (SECONDS[unit] ?? 0);
  if (seconds > 0) return seconds;
  throw new Failure("usage", "bad_time", `${flag} ${text} isn't a time: say 30m, 12h or 7d.`);
}
