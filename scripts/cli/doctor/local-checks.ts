import { stat } from "node:fs/promises";
import type { LoadedConfig } from "../config-file.ts";
import { planDeployment } from "../deploy/plan.ts";
import { loginFile, readLogins } from "../login-file.ts";
import type { CommandContext } from "../context.ts";
import { note, ok, whyNot, wrong, type Check } from "./check.ts";

/** The oldest Node that the command line is made for. */
const NODE_MAJOR = 20;

/** What can be checked without asking anybody. */
export async function* localChecks(context: CommandContext): AsyncGenerator<Check> {
  const major = Number(process.versions.node.split(".")[0]);
  yield major >= NODE_MAJOR
    ? ok("node", `version ${process.versions.node}`)
    : wrong("node", `version ${process.versions.node} is too old`, `Install Node ${NODE_MAJOR} or later.`);
  yield* configChecks(context);
  yield* loginChecks(context);
}

function* configChecks(context: CommandContext): Generator<Check> {
  let loaded: LoadedConfig;
  try {
    loaded = context.config();
  } catch (error) {
    yield wrong(
      "signalbox.json",
      whyNot(error),
      "Mend the file; docs/signalbox.schema.json says what it may hold.",
    );
    return;
  }
  if (loaded.file === null) {
    yield note("signalbox.json", "there is none here or above: flags and defaults decide");
    return;
  }
  try {
    const { app, target } = planDeployment({}, loaded, null);
    yield ok("signalbox.json", `${loaded.file}: app ${app}, target ${target.kind}`);
  } catch (error) {
    yield wrong("signalbox.json", whyNot(error), `Add it to ${loaded.file}.`);
  }
}

async function* loginChecks({ env }: CommandContext): AsyncGenerator<Check> {
  const file = loginFile(env);
  try {
    const { servers } = await readLogins(file);
    const known = Object.keys(servers);
    if (known.length === 0) {
      yield note("login", "none is saved");
      return;
    }
    const open = ((await stat(file)).mode & 0o077) !== 0 && process.platform !== "win32";
    yield open
      ? wrong("login", `${file} can be read by others`, `chmod 600 ${file}`)
      : ok("login", `saved for ${known.join(", ")}`);
  } catch (error) {
    yield wrong("login", whyNot(error), `Delete ${file}, then: signalbox login.`);
  }
}
