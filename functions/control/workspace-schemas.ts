import { z } from "@hono/zod-openapi";
import { ENV_NAME_PATTERN, ENV_VARIABLES_LIMIT, envReceivers } from "../protocol/project-env.ts";
import { runnerId } from "../apps/app-document.ts";
import { MESSAGE_LIMIT, REMOTE_LIMIT } from "../protocol/project-git.ts";
import { FILE_CONTENT_LIMIT, fileTypes } from "../protocol/workspace-api.ts";
import { envVariable, projectPath } from "./project-schemas.ts";
import { logQuery } from "./schemas.ts";

const variableName = z.string().regex(ENV_NAME_PATTERN, "isn't a variable's name");
/** Linux's PATH_MAX; the runner says what else is wrong with one. */
const path = z.string().max(4_096);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in hexadecimal");
const encoding = z.enum(["utf8", "base64"]);

export const envView = z
  .object({
    /** Without their values, which nothing tells. */
    variables: z.array(
      z.object({
        name: z.string(),
        secret: z.boolean(),
        for: z.enum(envReceivers),
        updatedAt: z.string(),
      }),
    ),
  })
  .openapi("ProjectEnv");

export const envBody = z
  .strictObject({
    variables: z.array(envVariable).min(1).max(ENV_VARIABLES_LIMIT),
  })
  .openapi("NewProjectEnv");

export const variablePath = projectPath.extend({ name: variableName });

export const filesQuery = z.object({ path: path.default("") });
export const filePath = projectPath.extend({ path: path.min(1) });
export const fileQuery = z.object({ encoding: encoding.optional() });

export const filesView = z
  .object({
    path: z.string(),
    files: z.array(
      z.object({
        name: z.string(),
        path: z.string(),
        type: z.enum(fileTypes),
        size: z.number().optional(),
      }),
    ),
    truncated: z.boolean(),
  })
  .openapi("ProjectFiles");

export const fileView = z
  .object({
    path: z.string(),
    content: z.string(),
    encoding,
    size: z.number(),
    /** Older runners don't say it. */
    sha256: z.string().optional(),
  })
  .openapi("ProjectFile");

export const fileBody = z
  .strictObject({
    content: z.string().max(FILE_CONTENT_LIMIT),
    encoding: encoding.default("utf8"),
    /** The SHA-256 of what it takes the place of: a file that is another by now stays. Null: there must be none yet. */
    replaces: sha256.nullable().optional(),
  })
  .openapi("NewProjectFile");

export const writtenView = z
  .object({ path: z.string(), size: z.number(), sha256: z.string().optional() })
  .openapi("WrittenFile");
export const deletedView = z.object({ path: z.string(), existed: z.boolean() }).openapi("DeletedFile");

export const searchQuery = z
  .object({
    /** A part of the path, or a pattern with `*` and `?`. */
    name: z.string().min(1).max(200).optional(),
    /** What a line has in it. */
    text: z.string().min(1).max(200).optional(),
    path: path.optional(),
    limit: z.coerce.number().int().min(1).max(1_000).optional(),
  })
  .refine(({ name, text }) => (name ?? text) !== undefined, {
    path: ["text"],
    error: "is needed, or a name",
  });

export const foundView = z
  .object({
    matches: z.array(
      z.object({ path: z.string(), line: z.number().optional(), text: z.string().optional() }),
    ),
    truncated: z.boolean(),
  })
  .openapi("FoundFiles");

const branch = z.string().min(1).max(200);
const remote = z.string().min(1).max(REMOTE_LIMIT);
const message = z.string().min(1).max(MESSAGE_LIMIT);

export const gitBody = z
  .strictObject({
    /** An address without a login; null: none. */
    remote: remote.nullable(),
    branch: branch.default("main"),
    /** Commits and pushes after each build that brought the project up. */
    pushAfterBuild: z.boolean().default(false),
  })
  .openapi("ProjectRemote");

export const commitBody = z.strictObject({ message }).openapi("NewCommit");
export const pushBody = z
  .strictObject({
    /** With one, everything is committed first. */
    message: message.optional(),
  })
  .openapi("NewPush");

export const gitView = z
  .object({
    remote: z.string().nullable(),
    branch: z.string(),
    pushAfterBuild: z.boolean(),
    isRepository: z.boolean(),
    commit: z.string().nullable(),
    subject: z.string().nullable(),
    changes: z.array(z.object({ status: z.string(), path: z.string() })),
    truncated: z.boolean(),
    lastPush: z
      .object({ at: z.string(), commit: z.string().nullable(), error: z.string().nullable() })
      .nullable(),
  })
  .openapi("ProjectGit");

export const moveBody = z.strictObject({ runnerId }).openapi("ProjectMove");

export const diffView = z.object({ diff: z.string(), truncated: z.boolean() }).openapi("GitDiff");

export const projectLogQuery = logQuery.extend({
  /** Only what this step wrote; `start` is the dev server. */
  step: z.enum(["install", "start", "agent", "git"]).optional(),
});
