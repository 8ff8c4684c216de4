import { z } from "zod";
import type { ControlClient } from "../../client/control-client.ts";
import type { AppView, LogView } from "../../client/control-types.ts";
import { command, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";
import { followStream } from "../progress/follow.ts";
import type { CommandContext } from "../context.ts";
import { oneLine } from "../output.ts";

export type Line = LogView["lines"][number];

export const DEFAULT_LINES = 200;

export const line = z
  .object({
    at: z.string(),
    stream: z.enum(["stdout", "stderr", "system"]),
    text: z.string(),
    step: z.string().optional(),
    /** What Workers of the first builds call it. */
    phase: z.string().optional(),
  })
  .transform(({ phase, step = phase, ...rest }): Line => ({
    ...rest,
    ...(step === undefined ? {} : { step }),
  }));

export const page = z.object({
  lines: z.array(line),
  cursor: z.number(),
  truncated: z.boolean(),
});

export const logs = command({
  name: "logs",
  summary: "what the build and the app of a deployment wrote",
  arguments: [
    {
      name: "ID",
      summary: "the deployment; without it, the active one",
      optional: true,
      formerly: "deployment-id",
    },
  ],
  flags: {
    ...ofApp,
    follow: { type: "boolean", short: "f", summary: "go on with what comes" },
    lines: {
      type: "string",
      short: "n",
      value: "COUNT",
      summary: `how many of the last lines (${DEFAULT_LINES}), or all`,
    },
    step: {
      type: "string",
      choices: ["install", "build", "start"],
      summary: "only what this step wrote",
      formerly: "phase",
    },
    timestamps: { type: "boolean", short: "t", summary: "when each line was written" },
  },
  async run(context, { flags, arguments: [given] }) {
    const count = countOf(flags.lines);
    const app = await context.app();
    const control = await context.control();
    const id = given ?? latest(await control.app(app));
    const wanted = ({ step }: Line): boolean => flags.step === undefined || step === flags.step;
    const show = (written: Line): void =>
      context.output.event({ type: "log", ...written }, () => {
        const said = oneLine(written.text);
        const text = written.stream === "system" ? context.output.style.dim(said) : said;
        return flags.timestamps ? `${context.output.style.dim(written.at)} ${text}` : text;
      });
    const read = await readAll(control, app, id);
    const shown = read.lines.filter(wanted).slice(-count);
    if (read.truncated) context.output.remark("  older lines are gone: they weren't kept");
    for (const one of shown) show(one);
    let total = shown.length;
    if (flags.follow && !read.complete) {
      total += await follow(context, control, { app, id, cursor: read.cursor }, (one) => {
        if (!wanted(one)) return false;
        show(one);
        return true;
      });
    }
    if (total === 0 && read.detail !== undefined) context.output.remark(`  ${read.detail}`);
    context.output.event({ type: "result", app, id, lines: total }, () => null);
  },
});

export function countOf(given: string | undefined): number {
  if (given === undefined) return DEFAULT_LINES;
  if (given === "all") return Infinity;
  if (/^[1-9]\d{0,8}$/.test(given)) return Number(given);
  throw new Failure("usage", "wrong_usage", `--lines must be a number or all, not ${JSON.stringify(given)}.`);
}

function latest({ name, active, deployments }: AppView): string {
  const id = active ?? deployments[0]?.id;
  if (id === undefined) throw new Failure("notFound", "no_deployment", `App ${name} has no deployment yet.`);
  return id;
}

/** All pages that there are now. */
async function readAll(control: ControlClient, app: string, id: string): Promise<LogView> {
  const all: LogView = { lines: [], cursor: 0, truncated: false, complete: false };
  for (;;) {
    const next = await control.logs(app, id, all.cursor);
    const moved = next.cursor !== all.cursor;
    all.lines.push(...next.lines.map((one) => line.parse(one)));
    Object.assign(all, { ...next, lines: all.lines, truncated: all.truncated || next.truncated });
    if (next.lines.length === 0 || !moved) return all;
  }
}

async function follow(
  context: CommandContext,
  control: ControlClient,
  { app, id, cursor }: { app: string; id: string; cursor: number },
  take: (line: Line) => boolean,
): Promise<number> {
  // Ctrl-C is how one stops looking.
  context.interruption = "";
  let taken = 0;
  const open = (last: string | null): Promise<ReadableStream<Uint8Array> | null> =>
    control.followLogs(app, id, last, context.signal);
  const following = {
    signal: context.signal,
    after: String(cursor),
    lost: (why: string) => context.output.remark(`  ${why} Trying again.`),
  };
  for await (const { event, data } of followStream(open, following)) {
    if (event !== "log") continue;
    for (const one of page.parse(JSON.parse(data)).lines) if (take(one)) taken += 1;
  }
  return taken;
}
