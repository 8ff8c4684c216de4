import { setTimeout as sleep } from "node:timers/promises";
import { request } from "undici";

export interface Visits {
  /** What was lost, and why. */
  lost: string[];
  p50: number;
  p99: number;
}

/** A neighbour's visitors come this often, whatever happens. */
export const VISITS_PER_SECOND = 50;

/** Asks `/hash` of an app through the edge: what each visitor was answered, and how long it took. */
export async function visits(origin: string, host: string, seconds: number): Promise<Visits> {
  const lost: string[] = [];
  const times: number[] = [];
  const startedAt = performance.now();
  const all: Promise<void>[] = [];
  for (let n = 0; n < seconds * VISITS_PER_SECOND; n += 1) {
    await sleep(Math.max(0, startedAt + (n * 1_000) / VISITS_PER_SECOND - performance.now()));
    const at = performance.now();
    // Each fifth with a body, whose credit an attacker may have.
    const isUpload = n % 5 === 0;
    const asked = request(`${origin}/hash?n=${n}`, {
      method: isUpload ? "POST" : "GET",
      body: isUpload ? Buffer.alloc(100_000) : null,
      headers: { host },
      signal: AbortSignal.timeout(60_000),
    });
    const answered = async (): Promise<void> => {
      try {
        const { statusCode, body } = await asked;
        const text = await body.text();
        if (statusCode !== 200) lost.push(`${statusCode} ${text.slice(0, 200)}`);
        times.push(performance.now() - at);
      } catch (error) {
        lost.push(String(error));
      }
    };
    all.push(answered());
  }
  await Promise.all(all);
  times.sort((one, other) => one - other);
  const at = (part: number): number => times[Math.floor(times.length * part)] ?? Number.NaN;
  return { lost, p50: at(0.5), p99: at(0.99) };
}

/** In words, beside what it is on a quiet runner. */
export function toldBeside({ p50, p99 }: Visits, quiet: Visits): string {
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, ${(p99 / quiet.p99).toFixed(1)} times that of the quiet runner`;
}
