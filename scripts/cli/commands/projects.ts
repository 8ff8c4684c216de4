import { openBrowser } from "../browser.ts";
import { age } from "../ages.ts";
import { command, confirmed, connection } from "../command.ts";
import type { CommandContext } from "../context.ts";
import { Failure } from "../failure.ts";
import type { ProjectDetails } from "../../client/control-types.ts";
import { ofImport, sourceOfProject } from "../import-source.ts";
import { ofImages, readImages, uploadImages } from "../prompt-images.ts";
import { finishBuild } from "./builds.ts";

const slug = { name: "PROJECT", summary: "the project's slug" } as const;
/** A day's work. */
const OWN_LINK_SECONDS = 12 * 3_600;

export const listProjects = command({
  name: "projects",
  summary: "lists projects",
  notes: "What Railway's token sees is listed by `signalbox railway projects`.",
  flags: connection,
  async run(context) {
    const projects = await (await context.control()).projects();
    const { output } = context;
    output.result({ projects }, () =>
      projects.length === 0
        ? 'No projects. Make one: signalbox projects create --prompt "a landing page for a bakery"'
        : output.table(
            ["PROJECT", "NAME", "RUNNER", "AGE", "PREVIEW"],
            projects.map(({ slug, name, runnerId, createdAt, previewUrl, public: isPublic }) => [
              slug,
              name,
              runnerId,
              age(createdAt, Date.now()),
              `${previewUrl ?? "none: PREVIEW_DOMAIN isn't set"}${isPublic ? " (public)" : ""}`,
            ]),
          ),
    );
  },
});

export const createProject = command({
  name: "projects create",
  summary: "makes a project from a prompt, and shows how it is built",
  flags: {
    ...connection,
    prompt: { type: "string", value: "PROMPT", summary: "what to build, in quotes" },
    name: { type: "string", value: "NAME", summary: "its name; without one, from the prompt" },
    slug: { type: "string", value: "SLUG", summary: "its slug; without one, from the name" },
    agent: { type: "string", value: "AGENT", summary: "the agent; without one, the runner's" },
    runner: { type: "string", value: "ID", summary: "the runner; without one, the least loaded" },
    open: { type: "boolean", summary: "open the preview in a browser when it is up" },
    ...ofImages,
    from: { type: "string", value: "SOURCE", summary: "begin with a git address, a directory or a .tgz" },
    ...ofImport,
  },
  notes: "Ctrl-C asks whether to cancel the build; where there is nobody to ask, it leaves it running.",
  async run(context, { flags }) {
    await create(context, flags, flags.from);
  },
});

export const importProject = command({
  name: "projects import",
  summary: "makes a project from a git address, a directory or a .tgz",
  arguments: [{ name: "SOURCE", summary: "https://HOST/PATH, a directory, or a gzipped tar" }],
  flags: {
    ...connection,
    name: { type: "string", value: "NAME", summary: "its name; without one, from the source" },
    slug: { type: "string", value: "SLUG", summary: "its slug; without one, from the name" },
    runner: { type: "string", value: "ID", summary: "the runner; without one, the least loaded" },
    open: { type: "boolean", summary: "open the preview in a browser when it is up" },
    ...ofImport,
  },
  notes: "A directory is packed as `signalbox deploy` packs it.",
  async run(context, { flags, arguments: [source] }) {
    await create(context, flags, source);
  },
});

interface Wish {
  prompt?: string | undefined;
  name: string | undefined;
  slug: string | undefined;
  agent?: string | undefined;
  runner: string | undefined;
  open: boolean;
  image?: string[] | undefined;
  branch: string | undefined;
  "token-stdin": boolean;
}

async function create(context: CommandContext, wish: Wish, from: string | undefined): Promise<void> {
  const { prompt, name, slug, agent, runner: runnerId } = wish;
  const images = await readImages(wish.image ?? []);
  if (images.length > 0 && prompt === undefined)
    throw new Failure("usage", "image_without_prompt", "Images belong to a prompt: give --prompt, too.");
  const control = await context.control();
  // With images its first build begins once they are there.
  const begin = images.length > 0 ? false : undefined;
  const given = { name, slug, agent, runnerId, ...(from === undefined && { prompt, begin }) };
  const body = Object.fromEntries(Object.entries(given).filter(([, one]) => one !== undefined));
  const source = from === undefined ? {} : await sourceOfProject(context, from, wish);
  const { build, ...project } = await control.createProject({ ...body, ...source });
  context.output.remark(`Project ${project.slug} on runner ${project.runnerId}`);
  if (build !== null) await finishBuild(context, build.id);
  if (prompt !== undefined && (from !== undefined || images.length > 0)) {
    const next = await control.createBuild(project.slug, {
      prompt,
      ...(agent !== undefined && { agent }),
      ...(await uploadImages(control, project.slug, images)),
    });
    await finishBuild(context, next.id);
  }
  await showPreview(context, project.slug, wish.open);
}

export const showProject = command({
  name: "projects show",
  summary: "shows one project: its dev server, builds and preview",
  arguments: [slug],
  flags: connection,
  async run(context, { arguments: [project = ""] }) {
    const details = await (await context.control()).project(project);
    context.output.result(details, () => describe(details));
  },
});

export const openProject = command({
  name: "projects open",
  summary: "prints a link to a project's preview and opens it in a browser",
  arguments: [slug],
  flags: { ...connection, print: { type: "boolean", summary: "only print it" } },
  async run(context, { flags, arguments: [project = ""] }) {
    await showPreview(context, project, !flags.print);
  },
});

export const deleteProject = command({
  name: "projects delete",
  summary: "deletes a project with its files, processes, logs, builds and preview",
  arguments: [slug],
  flags: {
    ...connection,
    "keep-files": { type: "boolean", summary: "leave its files on the runner, beside its projects" },
    ...confirmed,
  },
  async run(context, { flags, arguments: [project = ""] }) {
    const keeps = flags["keep-files"];
    await context.confirm(
      keeps
        ? `Delete project ${project} but for its files?`
        : `Delete project ${project} with all its files?`,
    );
    const gone = await (await context.control()).deleteProject(project, keeps ? "keep" : "delete");
    context.output.result(gone, () =>
      gone.kept === null
        ? `Project ${project} is deleted.`
        : `Project ${project} is deleted. Its files are on runner ${gone.runnerId}, in ${gone.kept}.`,
    );
  },
});

export const startServer = command({
  name: "dev start",
  summary: "starts a project's dev server; a visit of its preview does, too",
  arguments: [slug],
  flags: connection,
  async run(context, { arguments: [project = ""] }) {
    const after = await (await context.control()).startServer(project);
    context.output.result(after, () => describe(after));
  },
});

export const stopServer = command({
  name: "dev stop",
  summary: "stops a project's dev server",
  arguments: [slug],
  flags: connection,
  async run(context, { arguments: [project = ""] }) {
    const after = await (await context.control()).stopServer(project);
    context.output.result(after, () => describe(after));
  },
});

/** Prints an address that opens the preview for whoever prints it. */
async function showPreview(context: CommandContext, slug: string, open: boolean): Promise<void> {
  const control = await context.control();
  const project = await control.project(slug);
  if (project.previewUrl === null) {
    throw new Failure("failed", "preview_unset", "There are no previews: set PREVIEW_DOMAIN on the Worker.");
  }
  const link = project.public ? null : await control.sharePreview(slug, OWN_LINK_SECONDS);
  const url = link?.url ?? project.previewUrl;
  context.output.result({ project, url }, () => url);
  if (open) await openBrowser(context, url);
}

function describe({
  slug,
  name,
  runnerId,
  previewUrl,
  runner,
  detail,
  public: isPublic,
}: ProjectDetails): string {
  const lines = [`${slug}  ${name}`, `runner      ${runnerId}`];
  if (previewUrl !== null) lines.push(`preview     ${previewUrl} (${isPublic ? "public" : "private"})`);
  if (runner === null) return [...lines, detail ?? "The runner can't be asked."].join("\n");
  const { state, port, reason, lastLines } = runner.devServer;
  lines.push(
    `agent       ${runner.agent}`,
    `dev server  ${state}${runner.framework === null ? "" : `, ${runner.framework}`}${port === null ? "" : `, port ${port}`}`,
  );
  if (reason !== null) lines.push(`            ${reason}`, ...lastLines.map((line) => `            ${line}`));
  const last = runner.builds.at(-1);
  if (last !== undefined)
    lines.push(`last build  ${last.id}, ${last.state}${last.reason === null ? "" : `: ${last.reason}`}`);
  return lines.join("\n");
}
