import { command } from "../command.ts";
import { Failure } from "../failure.ts";

/** Stands in the table for help and completions; the entry starts the runner before any command line is read. */
export const runner = command({
  name: "runner",
  summary: "runs a runner on this machine",
  notes:
    "signalbox runner --help lists its settings; they are flags or environment variables.\n" +
    "signalbox runner agents [--json] says of each coding agent whether it is installed here,\n" +
    "has its key, and what is missing.",
  flags: {},
  run() {
    throw new Failure("usage", "wrong_usage", "Write runner first: signalbox runner [FLAGS].");
  },
});
