import type { BuildDiff } from "../../client/control-types.ts";
import { command, connection } from "../command.ts";
import type { Style } from "../output.ts";

export const diffBuild = command({
  name: "diff",
  summary: "shows what a build changed",
  arguments: [{ name: "BUILD", summary: "the build's id" }],
  flags: connection,
  async run(context, { arguments: [id = ""] }) {
    const diff = await (await context.control()).buildDiff(id);
    const { output } = context;
    output.result(diff, () => shown(diff, output.style));
  },
});

export const undoBuild = command({
  name: "undo",
  summary: "takes back what a project's last build changed",
  arguments: [
    { name: "PROJECT", summary: "the project's slug" },
    { name: "BUILD", summary: "another build than the last one that changed something", optional: true },
  ],
  flags: {
    ...connection,
    keep: { type: "boolean", summary: "leave files as they are that were changed since" },
    overwrite: { type: "boolean", summary: "take back files that were changed since, too" },
  },
  notes: "Without --keep or --overwrite nothing is undone if files were changed since; they are named.",
  async run(context, { flags, arguments: [slug = "", build] }) {
    const changed = flags.overwrite ? "overwrite" : flags.keep ? "keep" : "refuse";
    const control = await context.control();
    const undone = await control.undo(slug, { changed, ...(build === undefined ? {} : { build }) });
    const kept = undone.kept.map((path) => `  kept as it is now: ${path}`);
    context.output.result(undone, () =>
      [`Build ${undone.id} is undone.`, ...undone.restored.map((path) => `  ${path}`), ...kept].join("\n"),
    );
  },
});

function shown({ files, isTruncated }: BuildDiff, style: Style): string {
  if (files.length === 0) return "It changed nothing.";
  const parts = files.map(({ path, status, diff }) => {
    const lines = diff?.trimEnd().split("\n") ?? [];
    return [`${status} ${path}`, ...(diff === "" ? [] : lines.map((line) => coloured(line, style)))].join(
      "\n",
    );
  });
  return [...parts, ...(isTruncated ? [style.dim("There is more than this.")] : [])].join("\n");
}

function coloured(line: string, style: Style): string {
  if (line.startsWith("+")) return style.green(line);
  if (line.startsWith("-")) return style.red(line);
  return line.startsWith("@@") ? style.dim(line) : line;
}
