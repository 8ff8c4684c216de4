import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { bytes } from "../ages.ts";
import { command, confirmed, connection } from "../command.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;
const path = { name: "PATH", summary: "a path in the project" } as const;

export const listProjectFiles = command({
  name: "files ls",
  summary: "lists a directory of a project",
  arguments: [project, { ...path, optional: true }],
  flags: connection,
  async run(context, { arguments: [slug = "", at = ""] }) {
    const { output } = context;
    const listing = await (await context.control()).files(slug, at);
    output.result(listing, () =>
      listing.files.length === 0
        ? "Nothing is in it."
        : output.table(
            ["PATH", "SIZE"],
            listing.files.map((file) => [
              file.type === "directory" ? `${file.path}/` : file.path,
              file.type === "file" ? bytes(file.size ?? 0) : file.type,
            ]),
          ),
    );
    if (listing.truncated) output.remark("There are more.");
  },
});

export const catFile = command({
  name: "files cat",
  summary: "prints a file of a project, as it is",
  arguments: [project, path],
  flags: connection,
  async run(context, { arguments: [slug = "", at = ""] }) {
    const file = await (await context.control()).readFile(slug, at);
    if (context.output.json) context.output.result(file, () => "");
    else context.output.content(Buffer.from(file.content, file.encoding));
  },
});

export const putFile = command({
  name: "files put",
  summary: "writes a file of a project",
  arguments: [
    project,
    path,
    { name: "FILE", summary: "what to write; without one, text from standard input", optional: true },
  ],
  flags: connection,
  async run(context, { arguments: [slug = "", at = "", file] }) {
    const data =
      file === undefined
        ? Buffer.from(await context.readInput())
        : await readFile(resolve(context.cwd, file));
    const written = await (
      await context.control()
    ).writeFile(slug, at, { content: data.toString("base64"), encoding: "base64" });
    context.output.result(written, () => `${written.path}: ${bytes(written.size)}`);
  },
});

export const removeFile = command({
  name: "files rm",
  summary: "deletes a file of a project, or a directory with all that is in it",
  arguments: [project, path],
  flags: { ...connection, ...confirmed },
  async run(context, { arguments: [slug = "", at = ""] }) {
    await context.confirm(`Delete ${at} of project ${slug}?`);
    const deleted = await (await context.control()).deleteFile(slug, at);
    context.output.result(deleted, () => (deleted.existed ? `${at} is deleted.` : `There was no ${at}.`));
  },
});

export const searchProject = command({
  name: "files search",
  summary: "finds lines of a project's files by what is in them, or files by their name",
  arguments: [project, { name: "TEXT", summary: "what a line has in it", optional: true }],
  flags: {
    ...connection,
    name: { type: "string", value: "PATTERN", summary: "a part of the path, or a pattern with * and ?" },
    in: { type: "string", value: "PATH", summary: "only below this directory" },
  },
  async run(context, { flags, arguments: [slug = "", text] }) {
    const given = Object.entries({ text, name: flags.name, path: flags.in });
    const query = Object.fromEntries(given.filter(([, one]) => one !== undefined));
    const found = await (await context.control()).searchFiles(slug, query);
    context.output.result(found, () =>
      found.matches.length === 0
        ? "Nothing was found."
        : found.matches
            .map((match) => [match.path, match.line, match.text].filter((one) => one !== undefined).join(":"))
            .join("\n"),
    );
    if (found.truncated) context.output.remark("There may be more: a limit ended the search.");
  },
});
