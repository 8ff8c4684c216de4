import { z } from "zod";
import { DEPLOYMENT_ID_PATTERN, RUNNER_ID_PATTERN, SLUG_PATTERN } from "../../functions/protocol/limits.ts";

/** What `signalbox.json` may say; `docs/signalbox.schema.json` is generated from it. It never holds a token. */

const shell = z.string().trim().min(1).max(8_192);
const text = z.string().min(1).max(256);
const path = z.string().min(1).max(1_024);

const prepare = z
  .strictObject({
    command: shell.describe("Run in the directory of this file before packing."),
    output: path.describe("The directory that is packed then, relative to this file."),
  })
  .describe("A local build before packing.");

const repo = z.strictObject({
  repo: z.string().regex(/^[\w.-]+\/[\w.-]+$/, "must be owner/name"),
  branch: text.optional(),
  commit: text.optional(),
});

/** Two names for the same thing, or two things of which only one can be. */
const EXCLUSIVE = [
  ["workspace", "workspaceId"],
  ["project", "projectId"],
  ["environment", "environmentId"],
  ["image", "repo"],
  ["runnerImage", "runnerRepo"],
] as const;

const railway = z
  .strictObject({
    workspace: text.optional(),
    workspaceId: text.optional(),
    project: text.optional(),
    projectId: text.optional(),
    environment: text.optional(),
    environmentId: text.optional(),
    envService: text.optional().describe("Service that holds the users' variables; pulse-env by default."),
    runnerService: text.optional().describe("Service of the runner; signalbox-runner by default."),
    runnerImage: text.optional().describe("The runner service's image."),
    runnerRepo: repo
      .omit({ commit: true })
      .optional()
      .describe("The repository that the runner service is built from instead."),
    imageRepository: text.optional().describe("Where images are pushed: ghcr.io/owner/name."),
    image: text.optional().describe("A deployment's image."),
    repo: repo.optional().describe("A deployment's repository on GitHub."),
    dockerfile: path.optional(),
    redis: z
      .union([
        z.literal("upstash"),
        z.string().regex(/^rediss?:\/\//, "must be upstash or a redis:// address"),
      ])
      .optional(),
  })
  .superRefine((railway, context) => {
    for (const [one, other] of EXCLUSIVE) {
      if (railway[one] === undefined || railway[other] === undefined) continue;
      context.addIssue({
        code: "custom",
        path: [one],
        message: `can't stand beside ${other}: give one of them`,
      });
    }
  })
  .describe("Where deployments and the baseline are on Railway.");

export const configSchema = z
  .strictObject({
    $schema: z.string().optional(),
    server: z.string().optional().describe("Address of Signalbox: https://edge.example.com"),
    app: z
      .string()
      .regex(SLUG_PATTERN, "must be lower-case letters, digits and hyphens, at most 63")
      .optional()
      .describe("The app; the directory's name by default."),
    deploymentName: z
      .string()
      .regex(DEPLOYMENT_ID_PATTERN, "must be lower-case letters, digits and hyphens, at most 24")
      .optional()
      .describe("What generated ids begin with; prod by default."),
    contract: z.enum(["pulse", "none"]).optional().describe("none: an app that knows nothing of Signalbox."),
    hosts: z.array(z.string().min(1).max(253)).max(100).optional().describe("Host names of the app."),
    target: z
      .enum(["runner", "railway", "url"])
      .optional()
      .describe("Where deployments run; runner by default."),
    url: z.string().optional().describe("With target url: the origin of the backend."),
    install: shell.optional().describe("Installs dependencies; without it the lockfile decides."),
    build: shell
      .optional()
      .describe("Runs where the deployment does, after the installation; else the build script."),
    start: shell
      .optional()
      .describe("Starts the server, which listens on PORT; else what the project was recognised as."),
    static: path
      .optional()
      .describe("Instead of start: the runner serves the files of this directory; . for all of the source."),
    healthPath: z
      .string()
      .regex(/^\/[\w\-./~]*$/, "must be an absolute path")
      .max(256)
      .optional(),
    host: z
      .enum(["public", "local", "own"])
      .optional()
      .describe(
        "The host that the server is told it is opened at: on a runner public (the visitors', by default) or local " +
          "(localhost, for development servers), for other targets public or own.",
      ),
    env: z.record(z.string(), z.string()).optional().describe("Variables of the deployment; no secrets."),
    labels: z.record(z.string(), z.string()).optional().describe("What the runner must say of itself."),
    runnerId: z.string().regex(RUNNER_ID_PATTERN, "isn't a runner's id").optional(),
    prepare: prepare.optional(),
    railway: railway.optional(),
  })
  .describe("What the signalbox command line knows of one app.");

export type Config = z.infer<typeof configSchema>;

/** The validator as JSON Schema, for editors. */
export function configJsonSchema(): Record<string, unknown> {
  return {
    title: "signalbox.json",
    ...z.toJSONSchema(configSchema, {
      io: "input",
      override({ zodSchema, jsonSchema }) {
        if (zodSchema === railway)
          jsonSchema.not = { anyOf: EXCLUSIVE.map((both) => ({ required: [...both] })) };
      },
    }),
  };
}
