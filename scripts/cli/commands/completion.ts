import { command, type Command } from "../command.ts";
import { completionScript, shells } from "../completions.ts";
import { Failure } from "../failure.ts";

/** `table` is every command, which this one belongs to. */
export function completionCommand(table: () => readonly Command[]): Command {
  return command({
    name: "completion",
    summary: "a completion script for your shell",
    arguments: [{ name: "SHELL", summary: shells.join(", "), choices: shells }],
    flags: {},
    notes:
      "bash: source <(signalbox completion bash)\nzsh:  source <(signalbox completion zsh)\nfish: signalbox completion fish | source",
    run(context, { arguments: [given] }) {
      const shell = shells.find((one) => one === given);
      if (!shell)
        throw new Failure(
          "usage",
          "wrong_usage",
          `SHELL must be ${shells.join(", ")}, not ${JSON.stringify(given)}.`,
        );
      const script = completionScript(shell, table());
      context.output.result({ shell, script }, () => script);
      return Promise.resolve();
    },
  });
}
