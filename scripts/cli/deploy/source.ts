import { bytes } from "../ages.ts";
import { packTree, type Archive } from "../packing/archive.ts";
import { readSourceTree, type SourceTree } from "../packing/source-tree.ts";
import type { Display } from "../progress/display.ts";
import type { Session } from "../session.ts";
import type { SourcePlan } from "./plan.ts";
import { runPrepare } from "./prepare.ts";

/** Runs the local build, if there is one; says what would be packed then. */
async function prepareTree(
  session: Session,
  display: Display,
  { directory, prepare }: SourcePlan,
): Promise<SourceTree> {
  if (prepare !== null) {
    const { command, file } = prepare;
    await session.agreeToPrepare({ kind: "prepare", file, value: command });
    display.step("prepare", "started", command);
    await runPrepare(prepare, { env: session.env, log: (line) => display.log(line), signal: session.signal });
    display.step("prepare", "done", command);
  }
  return readSourceTree(directory, { alone: prepare !== null, secret: session.secretDirectories });
}

/** The source as an archive. Whoever calls removes it. */
export async function packSource(session: Session, display: Display, plan: SourcePlan): Promise<Archive> {
  const tree = await prepareTree(session, display, plan);
  display.step("pack", "started");
  const archive = await packTree(tree, session.signal);
  session.atEnd(() => archive.remove());
  const count = tree.entries.length === 1 ? "1 file" : `${tree.entries.length} files`;
  display.step("pack", "done", `${count}, ${bytes(tree.bytes)} → ${bytes(archive.bytes)}`);
  if (tree.skipped.length > 0)
    session.output.remark(
      `  not packed: ${tree.skipped.join(", ")} (no plain files, or secrets of Signalbox)`,
    );
  return archive;
}
