import { z } from "@hono/zod-openapi";
import { runnerId } from "../apps/app-document.ts";
import { PORT_LABEL } from "../projects/preview-host.ts";
import { BUILD_ID_PATTERN, buildStates, devServerStates, fileChanges } from "../protocol/builds.ts";
import {
  ENV_NAME_PATTERN,
  ENV_VALUE_LIMIT,
  ENV_VARIABLES_LIMIT,
  envReceivers,
} from "../protocol/project-env.ts";
import { IMAGES_LIMIT, imageTypes } from "../protocol/images.ts";
import { REMOTE_LIMIT } from "../protocol/project-git.ts";
import { PREVIEW_LINK_LIMIT_SECONDS, PROMPT_LIMIT, SLUG_PATTERN } from "../protocol/limits.ts";

const timestamp = z.iso.datetime();
const slug = z.string().regex(SLUG_PATTERN, "must have letters, digits and hyphens, at most 63");
/** `3000--NAME` is a port of the project NAME. */
const newSlug = slug.refine(
  (value) => !PORT_LABEL.test(value),
  "must not begin with a number and two hyphens",
);
const agent = z.string().min(1).max(100);
const prompt = z.string().min(1).max(PROMPT_LIMIT);

export const deletionQuery = z.object({
  /** `keep` leaves them on the runner, beside its projects. */
  files: z.enum(["delete", "keep"]).default("delete"),
});

export const projectPath = z.object({ slug });
export const projectPageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(500).default(100),
  after: z.string().max(64).optional(),
});

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in hexadecimal");

/** A git address, or a source that its runner has. */
const projectSource = z
  .strictObject({
    git: z.string().min(1).max(REMOTE_LIMIT).optional(),
    branch: z.string().min(1).max(200).optional(),
    sha256: sha256.optional(),
  })
  .refine(({ git, sha256 }) => (git === undefined) !== (sha256 === undefined), {
    path: ["git"],
    error: "is needed, or sha256, and not both",
  });

export const envVariable = z.strictObject({
  name: z.string().regex(ENV_NAME_PATTERN, "isn't a variable's name"),
  value: z.string().max(ENV_VALUE_LIMIT),
  /** Masked wherever output is shown. */
  secret: z.boolean().default(false),
  /** `dev` is installs and the dev server, `git` the login to the project's remote. */
  for: z.enum(envReceivers).default("both"),
});

export const projectBody = z
  .strictObject({
    /** Without one, from the name. */
    slug: newSlug.optional(),
    /** Without one, from the prompt. */
    name: z.string().min(1).max(100).optional(),
    /** Its first build; without one nothing is built. */
    prompt: prompt.optional(),
    /** `false`: the prompt names it, and its first build is begun by another call, with images for example. */
    begin: z.boolean().optional(),
    /** Of its builds that name none; the runner's own choice without one. */
    agent: agent.optional(),
    /** Without one, the least loaded. */
    runnerId: runnerId.optional(),
    /** What it begins with, in place of a prompt: its first build imports it. */
    source: projectSource.optional(),
    /** Variables that are set before its first build. */
    env: z.array(envVariable).max(ENV_VARIABLES_LIMIT).optional(),
  })
  .refine(({ name, slug, prompt, source }) => (name ?? slug ?? prompt ?? source) !== undefined, {
    path: ["name"],
    error: "is needed, or a slug, or a prompt that gives one",
  })
  .refine(({ prompt, source }) => prompt === undefined || source === undefined, {
    path: ["source"],
    error: "can't be together with a prompt: prompt when it is imported",
  })
  .openapi("NewProject");

export const projectChange = z
  .strictObject({
    name: z.string().min(1).max(100).optional(),
    public: z.boolean().optional(),
    /** Another one: the preview's host follows, and links to the old one end. */
    slug: slug.optional(),
  })
  .openapi("ProjectChange");

/** The stricter one of the runner's and these holds. */
const limits = z
  .strictObject({
    seconds: z.number().positive().max(604_800).optional(),
    silenceSeconds: z.number().positive().max(604_800).optional(),
    turns: z.number().int().positive().max(1_000).optional(),
    outputBytes: z.number().int().positive().optional(),
    /** In the currency that the agent counts in. */
    cost: z.number().positive().optional(),
  })
  .openapi("BuildLimits");

export const buildBody = z
  .strictObject({
    prompt,
    agent: agent.optional(),
    limits: limits.optional(),
    /** SHA-256 of images that were uploaded to the project. */
    images: z.array(sha256).max(IMAGES_LIMIT).optional(),
  })
  .openapi("NewBuild");
export const imageHeaders = z.object({ "x-signalbox-sha256": sha256.optional() });
export const imageView = z
  .object({ sha256: z.string(), type: z.enum(imageTypes), bytes: z.number() })
  .openapi("Image");
export const buildPath = z.object({
  id: z.string().regex(BUILD_ID_PATTERN, "must be a build's id: PROJECT.…"),
});
/** A sentence or two, where no option is offered. */
const ANSWER_LIMIT = 4_000;

export const answerPath = buildPath.extend({ request: z.string().min(1).max(200) });
export const answerBody = z
  .strictObject({
    /** An offered option's id, or a text where none is offered; null: none of them. */
    option: z.string().max(ANSWER_LIMIT).nullable(),
  })
  .openapi("BuildAnswer");

export const undoBody = z
  .strictObject({
    /** Without one, the last build that changed something and wasn't taken back yet. */
    build: z.string().regex(BUILD_ID_PATTERN, "must be a build's id: PROJECT.…").optional(),
    /** What to do about files that somebody else has changed since. */
    changed: z.enum(["refuse", "keep", "overwrite"]).default("refuse"),
  })
  .openapi("Undo");

export const undoView = z
  .object({
    id: z.string(),
    restored: z.array(z.string()),
    /** Changed since, and left as they are. */
    kept: z.array(z.string()),
  })
  .openapi("Undone");

export const buildDiff = z
  .object({
    id: z.string(),
    files: z.array(
      z.object({
        path: z.string(),
        status: z.enum(fileChanges),
        /** Unified; left out for what isn't text, is too long, or comes after too much. */
        diff: z.string().optional(),
      }),
    ),
    isTruncated: z.boolean(),
  })
  .openapi("BuildDiff");

export const linkBody = z
  .strictObject({
    seconds: z.number().int().min(1).max(PREVIEW_LINK_LIMIT_SECONDS).default(86_400),
    /** Another port that the project listens on; the dev server's without one. */
    port: z.number().int().min(1).max(65_535).optional(),
    /** Opens it for the first who comes by the link, and for nobody else. */
    once: z.boolean().default(false),
  })
  .openapi("PreviewLink");

export const linkView = z
  .object({
    /** Opens the preview until it expires or is revoked; whoever has it gets in. */
    url: z.string(),
    expiresAt: timestamp,
  })
  .openapi("PreviewLinkMade");

export const buildView = z
  .object({
    id: z.string(),
    project: z.string(),
    state: z.enum(buildStates),
    reason: z.string().nullable(),
    agent: z.string(),
    prompt: z.string(),
    seq: z.number(),
    createdAt: z.string(),
    updatedAt: z.string(),
    questions: z.array(z.string()),
  })
  .openapi("Build");

export const projectView = z
  .object({
    slug: z.string(),
    name: z.string(),
    runnerId: z.string(),
    createdAt: timestamp,
    public: z.boolean(),
    /** Null while PREVIEW_DOMAIN isn't set. */
    previewUrl: z.string().nullable(),
  })
  .openapi("Project");

export const projectDeleted = projectView
  .extend({
    /** Where its files are on the runner, with `files=keep`. */
    kept: z.string().nullable().default(null),
  })
  .openapi("ProjectDeleted");

/** `runner` is null while the runner can't be asked, which `detail` explains. */
export const projectDetails = projectView
  .extend({
    runner: z
      .object({
        agent: z.string(),
        framework: z.string().nullable(),
        devServer: z.object({
          state: z.enum(devServerStates),
          port: z.number().nullable(),
          reason: z.string().nullable(),
          lastLines: z.array(z.string()),
        }),
        builds: z.array(buildView),
      })
      .nullable(),
    detail: z.string().optional(),
  })
  .openapi("ProjectDetails");

export const projectCreated = projectView.extend({ build: buildView.nullable() }).openapi("ProjectCreated");
