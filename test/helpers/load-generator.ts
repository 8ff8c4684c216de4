import { Client } from "undici";

/**
 * Puts load on a stack from a process of its own, checks every single answer, and says on its last line what it saw:
 * `node load-generator.ts JSON`, until its input ends.
 */
export interface LoadPlan {
  origin: string;
  host: string;
  streams: LoadStream[];
}

export interface LoadStream {
  name: string;
  /** Deployment that each request is pinned to; null for none. */
  pin: string | null;
  connections: number;
}

export interface StreamReport {
  name: string;
  sent: number;
  answered: number;
  /** Answers by the deployment that gave them. */
  from: Record<string, number>;
  /** Connection errors, timeouts and resets. */
  errors: number;
  /** Answers that weren't the one to this very request, at most ten of them. */
  wrong: string[];
  slowestMs: number;
}

const ANSWER_TIMEOUT_MS = 30_000;

if (process.argv[2] !== undefined) {
  let going = true;
  process.stdin.resume().once("end", () => {
    going = false;
  });
  const plan: LoadPlan = JSON.parse(process.argv[2]);
  const reports = await Promise.all(plan.streams.map((stream) => load(plan, stream, () => going)));
  console.log(JSON.stringify(reports));
}

async function load(plan: LoadPlan, stream: LoadStream, goOn: () => boolean): Promise<StreamReport> {
  const { name, pin, connections } = stream;
  const report: StreamReport = { name, sent: 0, answered: 0, from: {}, errors: 0, wrong: [], slowestMs: 0 };
  const ask = async (client: Client): Promise<void> => {
    report.sent += 1;
    const path = `/echo?nonce=${name}-${report.sent}${pin === null ? "" : `&pulse_deployment=${pin}`}`;
    const sentAt = performance.now();
    try {
      const { statusCode, body } = await client.request({
        method: "GET",
        path,
        headers: { host: plan.host },
      });
      const text = await body.text();
      report.answered += 1;
      const [from = "", echoed] = text.split(" ");
      report.from[from] = (report.from[from] ?? 0) + 1;
      const right = statusCode === 200 && echoed === path && (pin === null || from === pin);
      if (!right && report.wrong.length < 10)
        report.wrong.push(`${path} → ${statusCode} ${text.slice(0, 200)}`);
    } catch {
      // Whatever it was, it was no answer; the test wants none of these.
      report.errors += 1;
    }
    report.slowestMs = Math.max(report.slowestMs, Math.round(performance.now() - sentAt));
  };
  const keepAsking = async (): Promise<void> => {
    const client = new Client(plan.origin, {
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
    });
    // A request is answered to the end before the next look, so that nothing is cut.
    while (goOn()) await ask(client);
    await client.close();
  };
  await Promise.all(Array.from({ length: connections }, keepAsking));
  return report;
}
