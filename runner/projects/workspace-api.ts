import { z } from "zod";
import {
  CONTROL_MESSAGE_LIMIT_BYTES,
  LOG_PAGE_LINES,
  LOG_WAIT_LIMIT_SECONDS,
  SLUG_PATTERN,
} from "../../functions/protocol/limits.ts";
import { type GitState, MESSAGE_LIMIT, REMOTE_LIMIT } from "../../functions/protocol/project-git.ts";
import type { RunnerAnswers } from "../../functions/protocol/runner-api.ts";
import type { WorkspaceAnswers } from "../../functions/protocol/workspace-api.ts";
import { count, parseBody, whilePresent } from "../deployments/api-request.ts";
import type { Route } from "../deployments/api-route.ts";
import { BRANCH_PATTERN } from "../git/remote.ts";
import { RunnerError } from "../runner-error.ts";
import { newVariables } from "./env-store.ts";
import { exportProject, exportWhole } from "./export-project.ts";
import { fileChanges } from "./file-changes.ts";
import { MATCHES_LIMIT, searchFiles } from "./file-search.ts";
import type { ProjectGit } from "./project-git.ts";
import type { ProjectManager } from "./project-manager.ts";

const newFile = z.strictObject({
  content: z.string(),
  encoding: z.enum(["utf8", "base64"]),
  replaces: z.string().nullable().optional(),
});

const newRemote = z.strictObject({
  remote: z.string().min(1).max(REMOTE_LIMIT).nullable(),
  branch: z.string().regex(BRANCH_PATTERN, "isn't a branch's name"),
  pushAfterBuild: z.boolean(),
});
const newSlug = z.strictObject({ slug: z.string().regex(SLUG_PATTERN) });
const hold = z.strictObject({ held: z.boolean() });
const gitAct = z.strictObject({ message: z.string().min(1).max(MESSAGE_LIMIT).nullable() });

/** In a file of their own, apart from those of builds and dev servers. */
export type WorkspaceRoute = keyof WorkspaceAnswers | "GET projects/*/logs";

/** The calls for what is in a project. `ending` aborts when the runner ends. */
export function workspaceRoutes(
  projects: ProjectManager,
  ending: AbortSignal,
): { [R in WorkspaceRoute]: Route<RunnerAnswers[R]> } {
  const pathOf = (url: URL): string => url.searchParams.get("path") ?? "";
  const gitChange = (
    slug: string,
    kind: "change" | "newWork",
    act: (git: ProjectGit) => Promise<unknown>,
  ): Promise<GitState> =>
    projects[kind](slug, async ({ git }) => {
      await act(git);
      return git.state();
    });
  return {
    "GET projects/*/env": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: projects.get(slug).env.view,
    }),
    "PUT projects/*/env": async (request, _url, [, slug = ""]) => {
      const { variables } = await parseBody(request, newVariables);
      return { status: 200, body: await projects.change(slug, ({ env }) => env.set(variables)) };
    },
    "DELETE projects/*/env/*": async (_request, _url, [, slug = "", , name = ""]) => ({
      status: 200,
      body: await projects.change(slug, ({ env }) => env.unset(decodeURIComponent(name))),
    }),
    "GET projects/*/files": async (_request, url, [, slug = ""]) => ({
      status: 200,
      body: await projects.get(slug).files.list(pathOf(url)),
    }),
    "GET projects/*/file": async (_request, url, [, slug = ""]) => {
      const encoding = url.searchParams.get("encoding");
      if (encoding !== null && encoding !== "utf8" && encoding !== "base64")
        throw new RunnerError("invalid_request", "The encoding must be utf8 or base64.", "encoding");
      return { status: 200, body: await projects.get(slug).files.read(pathOf(url), encoding ?? undefined) };
    },
    "PUT projects/*/file": async (request, url, [, slug = ""]) => {
      const { content, encoding, replaces } = await parseBody(request, newFile, CONTROL_MESSAGE_LIMIT_BYTES);
      const written = await projects.change(slug, ({ files }) =>
        files.write(pathOf(url), content, encoding, replaces),
      );
      return { status: 200, body: written };
    },
    "DELETE projects/*/file": async (_request, url, [, slug = ""]) => ({
      status: 200,
      body: await projects.change(slug, ({ files }) => files.remove(pathOf(url))),
    }),
    "GET projects/*/search": async (_request, url, [, slug = ""]) => ({
      status: 200,
      body: await searchFiles(projects.get(slug).directory, {
        name: url.searchParams.get("name") ?? undefined,
        text: url.searchParams.get("text") ?? undefined,
        path: pathOf(url),
        limit: count(url, "limit", 200, MATCHES_LIMIT),
      }),
    }),
    "GET projects/*/changes": async (_request, _url, [, slug = ""]) => {
      const stream = fileChanges(projects.get(slug).directory, ending);
      return { status: 200, body: null, headers: { "content-type": "text/event-stream" }, stream };
    },
    "GET projects/*/export": async (_request, url, [, slug = ""]) => {
      const { directory } = projects.get(slug);
      const isWhole = url.searchParams.get("whole") === "1";
      const stream = isWhole ? await exportWhole(directory) : exportProject(directory);
      return { status: 200, body: null, headers: { "content-type": "application/gzip" }, stream };
    },
    "POST projects/*/hold": async (request, _url, [, slug = ""]) => {
      const { held } = await parseBody(request, hold);
      return { status: 200, body: await projects.get(slug).hold(held) };
    },
    "POST projects/*/slug": async (request, _url, [, slug = ""]) => ({
      status: 200,
      body: await projects.rename(slug, (await parseBody(request, newSlug)).slug),
    }),
    "POST projects/*/fill": async (_request, _url, [, slug = ""]) => {
      await projects.newWork(slug, (project) => project.fill(ending));
      return { status: 200, body: projects.get(slug).view };
    },
    "GET projects/*/git": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: await projects.get(slug).git.state(),
    }),
    "PUT projects/*/git": async (request, _url, [, slug = ""]) => {
      const remote = await parseBody(request, newRemote);
      return { status: 200, body: await gitChange(slug, "change", (git) => git.configure(remote)) };
    },
    "POST projects/*/git/init": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: await gitChange(slug, "newWork", (git) => git.init()),
    }),
    "POST projects/*/git/commit": async (request, _url, [, slug = ""]) => {
      const { message } = await parseBody(request, gitAct);
      return {
        status: 200,
        body: await gitChange(slug, "newWork", (git) => git.commit(message ?? "A change")),
      };
    },
    "POST projects/*/git/push": async (request, _url, [, slug = ""]) => {
      const { message } = await parseBody(request, gitAct);
      return { status: 200, body: await gitChange(slug, "newWork", (git) => git.push(message)) };
    },
    "POST projects/*/git/sync": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: await gitChange(slug, "newWork", (git) => git.sync()),
    }),
    "GET projects/*/git/diff": async (_request, _url, [, slug = ""]) => ({
      status: 200,
      body: await projects.get(slug).git.diff(),
    }),
    "GET projects/*/logs": async (request, url, [, slug = ""]) => {
      const project = projects.get(slug);
      const cursor = count(url, "cursor", 0, Number.MAX_SAFE_INTEGER);
      const limit = count(url, "limit", LOG_PAGE_LINES, LOG_PAGE_LINES);
      const waitMs = count(url, "wait", 0, LOG_WAIT_LIMIT_SECONDS) * 1_000;
      const read = (waiting?: AbortSignal) => project.readLog(cursor, limit, waiting);
      return {
        status: 200,
        body: await (waitMs === 0 ? read() : whilePresent(request, waitMs, ending, read)),
      };
    },
  };
}
