import type { Runner } from "../../api-types.ts";
import { call } from "../../api.ts";

const PAGE = 500;

/** All runners: a page of the API holds 500. */
export async function loadRunners(signal?: AbortSignal): Promise<Runner[]> {
  const all: Runner[] = [];
  const options = signal === undefined ? {} : { signal };
  for (;;) {
    const after = all.at(-1)?.id;
    const query = `?limit=${PAGE}${after === undefined ? "" : `&after=${encodeURIComponent(after)}`}`;
    const { runners } = await call<{ runners: Runner[] }>("GET", `/runners${query}`, undefined, options);
    all.push(...runners);
    if (runners.length < PAGE) return all;
  }
}

export function runnerPath(id: string, rest = ""): string {
  return `/runners/${encodeURIComponent(id)}${rest}`;
}
