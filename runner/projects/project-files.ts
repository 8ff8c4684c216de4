import { createHash } from "node:crypto";
import type {
  DeletedFile,
  FileEncoding,
  ProjectFile,
  ProjectFiles as Listing,
  WrittenFile,
} from "../../functions/protocol/workspace-api.ts";
import { CONTROL_MESSAGE_LIMIT_BYTES } from "../../functions/protocol/limits.ts";
import { RunnerError } from "../runner-error.ts";
import type { Disk } from "../workspaces/disk.ts";
import { deleteFile, listFiles, readFile, writeFile } from "../workspaces/files.ts";
import type { Trash } from "../workspaces/trash.ts";

/** Room for everything in an answer but the content. */
const CONTENT_LIMIT_BYTES = CONTROL_MESSAGE_LIMIT_BYTES - 64 * 1024;
/** Entries of a directory in one answer: with long names they are 1 MB. */
const LISTED_LIMIT = 2_000;

/** The files of one project, for whoever may open its runner's own service. */
export class ProjectFiles {
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #trash: Trash;

  constructor(directory: string, { disk, trash }: { disk: Disk; trash: Trash }) {
    this.#directory = directory;
    this.#disk = disk;
    this.#trash = trash;
  }

  async list(path: string): Promise<Listing> {
    const { files, truncated } = await listFiles(this.#directory, path);
    const shown = files.slice(0, LISTED_LIMIT);
    return { path, files: shown, truncated: truncated || shown.length < files.length };
  }

  /** Without an encoding, as text if it is UTF-8. */
  async read(path: string, encoding?: FileEncoding): Promise<ProjectFile> {
    const file = await readFile(this.#directory, path, encoding);
    const sha256 = hashOf(file.content, file.encoding);
    if (Buffer.byteLength(JSON.stringify(file.content)) <= CONTENT_LIMIT_BYTES)
      return { path, ...file, sha256 };
    // Text of control characters takes six bytes each in JSON.
    if (encoding === "utf8")
      throw new RunnerError("too_large", "This text doesn't fit an answer: read it as base64.");
    const again = await readFile(this.#directory, path, "base64");
    return { path, ...again, sha256: hashOf(again.content, again.encoding) };
  }

  /** `replaces`: the hash that the file must have until now, or null for none. */
  async write(
    path: string,
    content: string,
    encoding: FileEncoding,
    replaces?: string | null,
  ): Promise<WrittenFile> {
    if (replaces !== undefined && (await this.#hash(path)) !== replaces)
      throw new RunnerError("changed_meanwhile", `${path} isn't what it was: somebody has changed it.`);
    const room = await this.#disk.reserve(Buffer.byteLength(content));
    try {
      const size = await writeFile(this.#directory, path, content, encoding);
      return { path, size, sha256: hashOf(content, encoding) };
    } finally {
      room.release();
      this.#disk.touch(this.#directory);
    }
  }

  async remove(path: string): Promise<DeletedFile> {
    const existed = await deleteFile(this.#directory, path, this.#trash);
    this.#disk.touch(this.#directory);
    return { path, existed };
  }

  /** Null: there is no such file. */
  async #hash(path: string): Promise<string | null> {
    try {
      const { content, encoding } = await readFile(this.#directory, path);
      return hashOf(content, encoding);
    } catch (error) {
      if (error instanceof RunnerError && error.code === "not_found") return null;
      throw error;
    }
  }
}

function hashOf(content: string, encoding: FileEncoding): string {
  return createHash("sha256").update(Buffer.from(content, encoding)).digest("hex");
}
