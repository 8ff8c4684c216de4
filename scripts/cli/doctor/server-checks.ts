import type { ControlClient } from "../../client/control-client.ts";
import { age } from "../ages.ts";
import { LOGIN_REMEDY } from "../failure.ts";
import type { CommandContext } from "../context.ts";
import { isLoopback, type Connection } from "../settings.ts";
import { note, ok, whyNot, wrong, type Check } from "./check.ts";

/** The control API that this command line speaks. */
const API_VERSION = "1";

/** The server: known, reachable, of this version, with the right token, and at work. */
export async function* serverChecks(context: CommandContext): AsyncGenerator<Check> {
  let connection: Connection;
  let control: ControlClient;
  try {
    connection = await context.connection();
  } catch (error) {
    yield wrong("server", whyNot(error), "signalbox login --server URL keeps one.");
    return;
  }
  const { server, token } = connection;
  const named = `${server.value} (from ${server.from})`;
  try {
    control = await context.control();
    const version = await control.apiVersion();
    yield version === API_VERSION
      ? ok("server", named)
      : wrong(
          "server",
          `${named} speaks version ${version} of the control API`,
          "Update whichever is older.",
        );
  } catch (error) {
    const remedy =
      token === null
        ? LOGIN_REMEDY
        : `Look at ${server.value}/_signalbox/healthz; change the address in ${server.from}.`;
    yield wrong(token === null ? "token" : "server", whyNot(error), remedy);
    return;
  }
  if (server.value.startsWith("http:") && !isLoopback(server.value)) {
    yield wrong(
      "transport",
      `${server.value} isn't encrypted: the token can be read on its way`,
      "Use https.",
    );
  }
  try {
    const apps = await control.apps();
    yield ok("token", `right (from ${token?.from ?? ""})`);
    yield apps.length === 0
      ? note("apps", "none yet", "signalbox deploy DIRECTORY makes one.")
      : ok("apps", apps.map(({ name, active }) => `${name} (${active ?? "nothing active"})`).join(", "));
  } catch (error) {
    yield wrong("token", whyNot(error), `Change it in ${token?.from ?? "the login"}.`);
    return;
  }
  yield* workChecks(context, control);
}

async function* workChecks(context: CommandContext, control: ControlClient): AsyncGenerator<Check> {
  const runners = await control.runners();
  const online = runners.filter(({ state }) => state === "online");
  const needed = (context.config().config.target ?? "runner") === "runner";
  if (online.length > 0) {
    yield ok("runners", `online: ${online.map(({ id }) => id).join(", ")}`);
  } else {
    const detail = runners.length === 0 ? "none has ever connected" : `none of ${runners.length} is online`;
    yield needed ? wrong("runners", detail, "Start one: signalbox-runner runner.") : note("runners", detail);
  }
  for (const { id } of runners.filter(({ conflict }) => conflict)) {
    yield wrong(
      "runners",
      `two runners use the id ${id} and replace each other`,
      "Give one another RUNNER_ID.",
    );
  }
  const { report, stale } = await control.lastJanitor();
  if (report === null) {
    yield note("janitor", "hasn't run yet", "It runs every minute, once the cron trigger is there.");
  } else {
    const when = `last ran ${age(report.finishedAt, Date.now())} ago`;
    yield stale
      ? wrong(
          "janitor",
          `${when}, which is too long`,
          "Look at the cron trigger of the Worker; signalbox janitor run does it once.",
        )
      : ok("janitor", when);
  }
}
