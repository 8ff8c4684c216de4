import { command, connection } from "../command.ts";
import { oneLine } from "../output.ts";
import { followStream } from "../progress/follow.ts";
import { countOf, DEFAULT_LINES, type Line, line, page } from "./logs.ts";

const steps = ["install", "start", "agent", "git"] as const;

export const devLogs = command({
  name: "dev logs",
  summary: "what a project's dev server, installs and agents wrote",
  arguments: [{ name: "PROJECT", summary: "the project's slug" }],
  flags: {
    ...connection,
    follow: { type: "boolean", short: "f", summary: "go on with what comes" },
    lines: {
      type: "string",
      short: "n",
      value: "COUNT",
      summary: `how many of the last lines (${DEFAULT_LINES}), or all`,
    },
    step: { type: "string", choices: steps, summary: "only what this wrote; start is the dev server" },
    timestamps: { type: "boolean", short: "t", summary: "when each line was written" },
  },
  async run(context, { flags, arguments: [slug = ""] }) {
    const { output } = context;
    const count = countOf(flags.lines);
    const step = steps.find((one) => one === flags.step);
    const control = await context.control();
    const show = (written: Line): void =>
      output.event({ type: "log", ...written }, () => {
        const said = oneLine(written.text);
        const text = written.stream === "system" ? output.style.dim(said) : said;
        return flags.timestamps ? `${output.style.dim(written.at)} ${text}` : text;
      });
    const lines: Line[] = [];
    let cursor = 0;
    for (;;) {
      const next = await control.projectLogs(slug, cursor, step);
      lines.push(...next.lines.map((one) => line.parse(one)));
      if (next.truncated) output.remark("  older lines are gone: they weren't kept");
      if (next.cursor === cursor) break;
      cursor = next.cursor;
    }
    const shown = lines.slice(-count);
    for (const one of shown) show(one);
    if (flags.follow) {
      // Ctrl-C is how one stops looking.
      context.interruption = "";
      const open = (last: string | null): Promise<ReadableStream<Uint8Array> | null> =>
        control.followProjectLogs(slug, last, context.signal, step);
      const following = {
        signal: context.signal,
        after: String(cursor),
        lost: (why: string) => output.remark(`  ${why} Trying again.`),
      };
      for await (const { event, data } of followStream(open, following)) {
        if (event === "log") for (const one of page.parse(JSON.parse(data)).lines) show(one);
      }
    }
    output.event({ type: "result", project: slug, lines: shown.length }, () => null);
  },
});
