import { cleanupLines } from "../../../functions/protocol/cleanup.ts";
import type { RunnerView } from "../../client/control-types.ts";
import { age } from "../ages.ts";
import { command, confirmed, connection, type Command } from "../command.ts";
import type { Output } from "../output.ts";

const id = { name: "ID", summary: "the runner" } as const;

export const listRunners = command({
  name: "runners",
  summary: "lists runners and their states",
  flags: connection,
  async run(context) {
    const runners = await (await context.control()).runners();
    const { output } = context;
    output.result({ runners }, () =>
      runners.length === 0
        ? "No runner has ever connected."
        : output.table(
            ["RUNNER", "STATE", "FOR", "PROTOCOL", "CONFINEMENT", ""],
            runners.map((runner) => row(runner, output)),
          ),
    );
  },
});

export const drainRunner = command({
  name: "runners drain",
  summary: "gives a runner no new work; what it runs goes on",
  arguments: [id],
  flags: { ...connection, undo: { type: "boolean", summary: "lift an earlier drain" } },
  async run(context, { flags, arguments: [runner = ""] }) {
    const after = await (await context.control()).drainRunner(runner, !flags.undo);
    context.output.result(after, () =>
      flags.undo
        ? `Runner ${runner} takes new work again.`
        : `Runner ${runner} gets nothing new; what it has goes on.`,
    );
  },
});

export const cleanUpRunner = command({
  name: "runners cleanup",
  summary: "deletes a runner's caches, and what else its policy names; says what that frees",
  arguments: [id],
  flags: { ...connection, "dry-run": { type: "boolean", summary: "say what would go, and delete nothing" } },
  async run(context, { flags, arguments: [runner = ""] }) {
    const report = await (await context.control()).cleanUpRunner(runner, flags["dry-run"]);
    context.output.result(report, () => cleanupLines(report).join("\n"));
  },
});

export const deleteRunner = command({
  name: "runners delete",
  summary: "deletes the record of a runner that isn't connected, and its credential",
  arguments: [id],
  flags: { ...connection, ...confirmed },
  async run(context, { arguments: [runner = ""] }) {
    await context.confirm(`Delete runner ${runner}? What it hosted is then given up.`);
    const gone = await (await context.control()).deleteRunner(runner);
    context.output.result(gone, () => `Runner ${runner} is deleted.`);
  },
});

export const forgetRunner: Command = {
  ...deleteRunner,
  name: "runners forget",
  nowSpelled: "runners delete ID",
};

export const runnerCredentials = command({
  name: "runners credentials",
  summary: "gives a runner a secret of its own, in place of any former one",
  arguments: [id],
  flags: {
    ...connection,
    revoke: {
      type: "boolean",
      summary: "revoke its own secret instead, and end the connection made with it",
    },
    ...confirmed,
  },
  async run(context, { flags, arguments: [runner = ""] }) {
    const control = await context.control();
    if (flags.revoke) {
      await context.confirm(`Revoke the secret of runner ${runner}? Its connection ends.`);
      const after = await control.revokeCredential(runner);
      context.output.result(after, () => `Runner ${runner} has no secret of its own any more.`);
      return;
    }
    await context.confirm(`Give runner ${runner} a new secret? A former one is then worth nothing.`);
    const credential = await control.issueCredential(runner);
    context.output.result(
      credential,
      () => `RUNNER_ID=${credential.id}\nRUNNER_SHARED_SECRET=${credential.secret}`,
    );
    context.output.remark("It is shown this once: start the runner with it.");
  },
});

/** `none` is said, too: whoever deploys there trusts everybody else on it. */
export function confinement(kept: RunnerView["confinement"] | undefined): string {
  // A server of before says nothing of it.
  if (kept === null || kept === undefined) return "";
  return kept.level === "sandbox" && kept.network === "shared" ? "sandbox, shared network" : kept.level;
}

/** What opens its id. */
function credentialOf({ enrolled, ownCredential, protocol }: RunnerView): string {
  if (enrolled) return "enrolled";
  if (ownCredential) return "own credential, not used yet";
  return protocol === null ? "" : "shared secret";
}

function row(runner: RunnerView, { style }: Output): string[] {
  const state = runner.state === "online" ? style.green(runner.state) : style.yellow(runner.state);
  const remarks = [
    runner.state === "online" ? "" : runner.reason,
    runner.conflict ? style.red("two runners use this id") : "",
    runner.drainRequested && runner.state !== "draining" ? "drain requested" : "",
    credentialOf(runner),
  ].filter((remark) => remark !== "");
  return [
    runner.id,
    state,
    age(runner.since, Date.now()),
    runner.protocol ?? "",
    confinement(runner.confinement),
    remarks.join(", "),
  ];
}
