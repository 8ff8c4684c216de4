import autocannon from "autocannon";

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

/** Requests between two looks at whether to go on; each batch is answered to the end, so that nothing is cut. */
const BATCH = 2_500;

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
  while (goOn()) {
    const result = await autocannon({
      url: plan.origin,
      connections,
      amount: BATCH,
      timeout: 30,
      headers: { host: plan.host },
      requests: [
        {
          setupRequest(request, context) {
            report.sent += 1;
            const path = `/echo?nonce=${name}-${report.sent}${pin === null ? "" : `&pulse_deployment=${pin}`}`;
            Object.assign(context, { path });
            return { ...request, path };
          },
          onResponse(status, body, context) {
            report.answered += 1;
            const path = "path" in context ? String(context.path) : "";
            const [from = "", echoed] = body.split(" ");
            report.from[from] = (report.from[from] ?? 0) + 1;
            const right = status === 200 && echoed === path && (pin === null || from === pin);
            if (!right && report.wrong.length < 10)
              report.wrong.push(`${path} → ${status} ${body.slice(0, 200)}`);
          },
        },
      ],
    });
    report.errors += result.errors + result.timeouts + result.resets;
    report.slowestMs = Math.max(report.slowestMs, result.latency.max);
  }
  return report;
}
