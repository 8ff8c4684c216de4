import { createWriteStream } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { bytes } from "../ages.ts";
import { command, connection } from "../command.ts";
import { Failure } from "../failure.ts";
import { finishBuild } from "./builds.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;

export const exportProject = command({
  name: "projects export",
  summary: "writes a project's files and repository to a gzipped tar, without packages, caches and variables",
  arguments: [project, { name: "FILE", summary: "where to; without one, PROJECT.tgz", optional: true }],
  flags: connection,
  async run(context, { arguments: [slug = "", file = `${slug}.tgz`] }) {
    const archive = await (await context.control()).exportProject(slug, context.signal);
    const path = resolve(context.cwd, file);
    const partial = `${path}.partial`;
    try {
      await pipeline(archive, createWriteStream(partial));
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    const { size } = await stat(path);
    context.output.result({ project: slug, file: path, bytes: size }, () => `${file}: ${bytes(size)}`);
  },
});

export const moveProject = command({
  name: "projects move",
  summary: "moves a project with its variables to another runner",
  arguments: [project],
  flags: { ...connection, runner: { type: "string", value: "ID", summary: "the runner that it moves to" } },
  notes: "Until the copy is whole, the project stays where it is. Its builds so far don't go along.",
  async run(context, { flags: { runner }, arguments: [slug = ""] }) {
    if (runner === undefined) throw new Failure("usage", "wrong_usage", "Say where to: --runner ID.");
    const { build, ...moved } = await (await context.control()).moveProject(slug, runner);
    context.output.remark(`Project ${slug} is on runner ${moved.runnerId}.`);
    if (build !== null) await finishBuild(context, build.id);
    context.output.result(moved, () => moved.previewUrl ?? slug);
  },
});

export const renameProject = command({
  name: "projects rename",
  summary: "gives a project another name, or another slug",
  arguments: [project, { name: "NAME", summary: "the new name", optional: true }],
  flags: {
    ...connection,
    slug: { type: "string", value: "SLUG", summary: "the new slug; the preview's host follows" },
  },
  notes: "With another slug, links to the old host end. Builds keep their ids.",
  async run(context, { flags, arguments: [slug = "", name] }) {
    const change = {
      ...(name !== undefined && { name }),
      ...(flags.slug !== undefined && { slug: flags.slug }),
    };
    if (Object.keys(change).length === 0)
      throw new Failure("usage", "wrong_usage", "Say what it is called: NAME, or --slug SLUG.");
    const after = await (await context.control()).changeProject(slug, change);
    context.output.result(after, () => `${after.slug}  ${after.name}`);
  },
});
