import { command, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";

export const pause = command({
  name: "pause",
  summary: "holds or refuses all requests of an app",
  flags: {
    ...ofApp,
    mode: {
      type: "string",
      choices: ["hold", "refuse"],
      summary: "hold requests (default), or refuse them with 503",
    },
    message: { type: "string", value: "TEXT", summary: "what refused visitors read" },
    "retry-after": { type: "string", value: "SECONDS", summary: "when they are told to come again" },
    "max-hold": { type: "string", value: "SECONDS", summary: "the longest that a request is held" },
  },
  async run(context, { flags }) {
    const app = await context.app();
    const retryAfterSeconds = secondsOf("--retry-after", flags["retry-after"]);
    const maxHoldSeconds = secondsOf("--max-hold", flags["max-hold"]);
    const after = await (
      await context.control()
    ).pause(app, {
      mode: flags.mode === "refuse" ? "refuse" : "hold",
      ...(flags.message === undefined ? {} : { message: flags.message }),
      ...(retryAfterSeconds === null ? {} : { retryAfterSeconds }),
      ...(maxHoldSeconds === null ? {} : { maxHoldSeconds }),
    });
    const how = after.paused?.mode === "refuse" ? "Requests are refused" : "Requests wait";
    context.output.result(after, () => `${app} is paused. ${how} until: signalbox resume --app ${app}.`);
  },
});

export const resume = command({
  name: "resume",
  summary: "lets requests through again, held ones first",
  flags: ofApp,
  async run(context) {
    const app = await context.app();
    const after = await (await context.control()).resume(app);
    context.output.result(after, () => `${app} serves again.`);
  },
});

function secondsOf(flag: string, given: string | undefined): number | null {
  if (given === undefined) return null;
  if (/^\d{1,6}$/.test(given)) return Number(given);
  throw new Failure(
    "usage",
    "wrong_usage",
    `${flag} must be a number of seconds, not ${JSON.stringify(given)}.`,
  );
}
