import { join } from "node:path";
import { SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import { RunnerError } from "../runner-error.ts";
import { LogFile, type Masking } from "./log-file.ts";

/** One log for each project: what its builds and its dev server say. */
export class ProjectLogs {
  readonly #directory: string;
  readonly #open = new Map<string, Promise<LogFile>>();
  readonly #masks = new Map<string, Masking>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Opens the project's log, or makes it. It belongs to this object: don't close it. */
  open(slug: string): Promise<LogFile> {
    if (!SLUG_PATTERN.test(slug))
      throw new RunnerError("invalid_project", "This isn't a project's slug.", "slug");
    let log = this.#open.get(slug);
    if (log === undefined) {
      log = LogFile.open(join(this.#directory, slug)).then((file) => {
        file.mask = this.#masks.get(slug) ?? file.mask;
        return file;
      });
      // What failed once may succeed once there is room again.
      log.catch(() => this.#open.delete(slug));
      this.#open.set(slug, log);
    }
    return log;
  }

  /** What is taken out of a project's lines from now on. */
  async maskWith(slug: string, mask: Masking): Promise<void> {
    this.#masks.set(slug, mask);
    const file = await this.#open.get(slug);
    if (file !== undefined) file.mask = mask;
  }

  /** Where a project's log is, for whoever deletes it after {@link closeOne}. */
  directory(slug: string): string {
    return join(this.#directory, slug);
  }

  async closeOne(slug: string): Promise<void> {
    const log = this.#open.get(slug);
    this.#open.delete(slug);
    await (await log)?.close();
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#open.keys()].map((slug) => this.closeOne(slug)));
  }
}
