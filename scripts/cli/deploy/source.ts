import { bytes } from "../ages.ts";
import { packTree, type Archive } from "../packing/archive.ts";
import { readSourceTree, type SourceTree } from "../packing/source-tree.ts";
import type { Display } from "../progress/display.ts";
import type { CommandContext } from "../context.ts";
import type { SourcePlan } from "./plan.ts";
import { runPrepare } from "./prepare.ts";

/** Runs the local build, if there is one; says what would be packed then. */
async function prepareTree(
  context: CommandContext,
  display: Display,
  { directory, prepare }: SourcePlan,
): Promise<SourceTree> {
  if (prepare !== null) {
    const { command, file } = prepare;
    await context.agreeToPrepare({ kind: "prepare", file, value: command });
    display.step("prepare", "started", command);
    await runPrepare(prepare, { env: context.env, log: (line) => display.log(line), signal: context.signal });
    display.step("prepare", "done", command);
  }
  return readSourceTree(directory, { alone: prepare !== null, secret: context.secretDirectories });
}

/** The source as an archive. Whoever calls removes it. */
export async function packSource(
  context: CommandContext,
  display: Display,
  plan: SourcePlan,
): Promise<Archive> {
  const tree = await prepareTree(context, display, plan);
  display.step("pack", "started");
  const archive = await packTree(tree, context.signal);
  context.atEnd(() => archive.remove());
  const count = tree.entries.length === 1 ? "1 file" : `${tree.entries.length} files`;
  display.step("pack", "done", `${count}, ${bytes(tree.bytes)} → ${bytes(archive.bytes)}`);
  if (tree.skipped.length > 0)
    context.output.remark(
      `  not packed: ${tree.skipped.join(", ")} (no plain files, or secrets of Signalbox)`,
    );
  return archive;
}
