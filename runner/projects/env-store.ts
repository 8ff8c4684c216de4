import { readFile } from "node:fs/promises";
import { z } from "zod";
import {
  ENV_NAME_PATTERN,
  ENV_VALUE_LIMIT,
  ENV_VARIABLES_LIMIT,
  envReceivers,
  type EnvReceiver,
  type NewEnvVariable,
  type ProjectEnv,
} from "../../functions/protocol/project-env.ts";
import { isSystemError, RunnerError } from "../runner-error.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import { type Mask, SECRET_LEAST } from "./mask.ts";

/** Of all variables: what a program is started with, is bounded by the system. */
const LIMIT_BYTES = 64 * 1024;
/** The runner sets these itself. */
const RESERVED = /^(?:HOME|TMPDIR|PORT|HOST|SIGNALBOX_.*|LD_.*)$/;

const stored = z.object({
  schema: z.literal(1),
  variables: z.array(
    z.object({
      name: z.string(),
      value: z.string(),
      secret: z.boolean(),
      for: z.enum(envReceivers),
      updatedAt: z.string(),
    }),
  ),
});
type Variable = z.infer<typeof stored>["variables"][number];

export const newVariables = z.strictObject({
  variables: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(ENV_NAME_PATTERN, "isn't a variable's name")
          .refine((name) => !RESERVED.test(name), "is set by the runner"),
        value: z
          .string()
          .max(ENV_VALUE_LIMIT)
          .refine((value) => !value.includes("\0"), "can't contain a NUL character"),
        secret: z.boolean(),
        for: z.enum(envReceivers),
      }),
    )
    .max(ENV_VARIABLES_LIMIT),
});

/** A project's variables, in a file of the runner's own that only its user reads. */
export class EnvStore {
  readonly #file: string;
  readonly #mask: Mask;
  readonly #variables: Map<string, Variable>;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(file: string, mask: Mask, variables: Variable[]) {
    this.#file = file;
    this.#mask = mask;
    this.#variables = new Map(variables.map((one) => [one.name, one]));
    mask.add(variables.filter(({ secret }) => secret).map(({ value }) => value));
  }

  static async open(file: string, mask: Mask): Promise<EnvStore> {
    const text = await readFile(file, "utf8").catch((error: unknown) => {
      if (isSystemError(error, "ENOENT")) return null;
      throw error;
    });
    if (text === null) return new EnvStore(file, mask, []);
    const found = stored.safeParse(jsonOf(text)).data;
    // Not its content, which is secret.
    if (found === undefined) throw new Error(`${file} is damaged. Restore it, or delete the project.`);
    return new EnvStore(file, mask, found.variables);
  }

  get view(): ProjectEnv {
    const all = [...this.#variables.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    return {
      variables: all.map(({ name, secret, for: receiver, updatedAt }) => ({
        name,
        secret,
        for: receiver,
        updatedAt,
      })),
    };
  }

  /** Sets these and leaves the others. Errors: `invalid_request`. */
  set(variables: readonly NewEnvVariable[]): Promise<ProjectEnv> {
    const short = variables.find(({ value, secret }) => secret && value.length < SECRET_LEAST);
    if (short !== undefined) {
      throw new RunnerError(
        "invalid_request",
        `${short.name} is too short for a secret: it takes ${SECRET_LEAST} characters to tell one from other text.`,
        "variables",
      );
    }
    return this.#change((all) => {
      const updatedAt = new Date().toISOString();
      for (const one of variables) all.set(one.name, { ...one, updatedAt });
    });
  }

  unset(name: string): Promise<ProjectEnv> {
    return this.#change((all) => void all.delete(name));
  }

  /** Everything, for a project that moves. */
  get all(): NewEnvVariable[] {
    return [...this.#variables.values()].map(({ updatedAt: _updatedAt, ...one }) => one);
  }

  /** What one of them is started with. */
  of(receiver: Exclude<EnvReceiver, "both">): Record<string, string> {
    const given = [...this.#variables.values()].filter(
      (one) => one.for === receiver || (one.for === "both" && receiver !== "git"),
    );
    return Object.fromEntries(given.map(({ name, value }) => [name, value]));
  }

  /** One after the other: what is on disk is what is in use. */
  #change(change: (all: Map<string, Variable>) => void): Promise<ProjectEnv> {
    const turn = this.#writing.then(() => this.#write(change));
    this.#writing = turn.catch(() => undefined); // whoever asked for it is told
    return turn;
  }

  async #write(change: (all: Map<string, Variable>) => void): Promise<ProjectEnv> {
    const next = new Map(this.#variables);
    change(next);
    const variables = [...next.values()];
    const size = variables.reduce((sum, { name, value }) => sum + Buffer.byteLength(name + value), 0);
    if (variables.length > ENV_VARIABLES_LIMIT || size > LIMIT_BYTES) {
      throw new RunnerError(
        "too_large",
        `A project has ${ENV_VARIABLES_LIMIT} variables and ${LIMIT_BYTES} bytes of them at most.`,
      );
    }
    // Masked from before the first program can know it.
    this.#mask.add(variables.filter(({ secret }) => secret).map(({ value }) => value));
    await writeFileAtomically(this.#file, JSON.stringify({ schema: 1, variables }), 0o600);
    this.#variables.clear();
    for (const one of variables) this.#variables.set(one.name, one);
    return this.view;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // damaged, which the caller says
  }
}
