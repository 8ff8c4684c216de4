import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { BUILD_ID_PATTERN } from "../../functions/protocol/builds.ts";
import { complain } from "../terminal/complain.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";

const origin = z.object({
  commandId: z.string(),
  /** SentryVibe's own id of the project, which isn't the slug. */
  projectId: z.string().nullable(),
  sessionId: z.string().nullable(),
  /** Where people see what the command starts; null where nobody said so. */
  previewUrl: z.string().nullable(),
});
/** The command that something came of: its events name it. */
export type Origin = z.infer<typeof origin>;

const slugs = z.record(z.string(), z.string());
/** More than a SentryVibe has projects on one runner. */
const PROJECTS_KEPT = 10_000;
const PROJECTS_FILE = "projects.json";

/** Which commands builds came of, and how SentryVibe calls their projects. It is on disk: events go on after a restart. */
export class Origins {
  readonly #directory: string;
  readonly #builds: Map<string, Origin>;
  #slugs: Map<string, string>;
  #writing: Promise<void> = Promise.resolve();

  private constructor(directory: string, builds: Map<string, Origin>, projects: Map<string, string>) {
    this.#directory = directory;
    this.#builds = builds;
    this.#slugs = projects;
  }

  static async open(directory: string): Promise<Origins> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const builds = new Map<string, Origin>();
    for (const name of await readdir(directory)) {
      const id = name.replace(/\.json$/, "");
      if (!BUILD_ID_PATTERN.test(id)) continue;
      const known = await read(join(directory, name), origin);
      if (known !== null) builds.set(id, known);
    }
    const projects = await read(join(directory, PROJECTS_FILE), slugs);
    return new Origins(directory, builds, new Map(Object.entries(projects ?? {})));
  }

  ofBuild(id: string): Origin | null {
    return this.#builds.get(id) ?? null;
  }

  /** The build that a command began. */
  buildOf(commandId: string): string | null {
    for (const [id, known] of this.#builds) if (known.commandId === commandId) return id;
    return null;
  }

  async begin(id: string, from: Origin): Promise<void> {
    this.#builds.set(id, from);
    await writeFileAtomically(join(this.#directory, `${id}.json`), JSON.stringify(from));
  }

  forgetBuild(id: string): void {
    if (!this.#builds.delete(id)) return;
    rm(join(this.#directory, `${id}.json`), { force: true }).catch((error: unknown) =>
      complain(`build ${id}: its origin stays`, error),
    );
  }

  slugOf(projectId: string): string | null {
    return this.#slugs.get(projectId) ?? null;
  }

  projectIdOf(slug: string): string | null {
    for (const [projectId, known] of this.#slugs) if (known === slug) return projectId;
    return null;
  }

  async learn(projectId: string, slug: string): Promise<void> {
    if (this.#slugs.get(projectId) === slug) return;
    this.#slugs.delete(projectId);
    this.#slugs.set(projectId, slug);
    await this.#save();
  }

  async forgetProject(slug: string): Promise<void> {
    const left = [...this.#slugs].filter(([, known]) => known !== slug);
    if (left.length === this.#slugs.size) return;
    this.#slugs = new Map(left);
    await this.#save();
  }

  #save(): Promise<void> {
    this.#slugs = new Map([...this.#slugs].slice(-PROJECTS_KEPT));
    const text = JSON.stringify(Object.fromEntries(this.#slugs));
    const before = this.#writing.catch(() => undefined); // whoever wrote it was told
    this.#writing = before.then(() => writeFileAtomically(join(this.#directory, PROJECTS_FILE), text));
    return this.#writing;
  }
}

/** Null: there is none, or none that can be read; it only names things. */
async function read<T>(file: string, schema: z.ZodType<T>): Promise<T | null> {
  const text = await readFile(file, "utf8").catch(() => "null"); // there is none
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null; // a full disk cut it
  }
}
