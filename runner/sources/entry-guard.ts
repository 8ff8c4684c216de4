import type { TarHeader } from "modern-tar";
import {
  ENTRIES_LIMIT,
  foldedPath,
  whyRefusedLink,
  whyRefusedPath,
} from "../../functions/protocol/source-paths.ts";
import { RunnerError } from "../runner-error.ts";

/** What to make of one entry of an archive; `path` and `source` are relative to the archive's root. */
export type Entry =
  | { kind: "directory"; path: string }
  | { kind: "file"; path: string; executable: boolean }
  /** `target` as the archive spells it. */
  | { kind: "symlink"; path: string; target: string }
  /** A second name of an earlier file. */
  | { kind: "hardlink"; path: string; source: string };

/**
 * Checks the entries of one archive, in their order. Refuses with {@link RunnerError} `invalid_archive` what would write
 * outside the archive's directory or through another entry, and what two file systems would unpack differently.
 */
export class EntryGuard {
  /** By the name that a file system without case and with another normal form would know it by. */
  readonly #kinds = new Map<string, { path: string; kind: Entry["kind"] }>();
  #count = 0;

  /** Files, links and directories that the entries so far make, those that they only imply among them. */
  get size(): number {
    return this.#kinds.size;
  }

  /** null: nothing to make, it is the root itself. */
  check(header: TarHeader): Entry | null {
    if (++this.#count > ENTRIES_LIMIT) throw tooMany();
    const type = header.type ?? "file";
    if (header.pax !== undefined && Object.keys(header.pax).some((key) => key.startsWith("GNU.sparse"))) {
      throw refuse(header.name, "is a sparse file");
    }
    const path = checkPath(header.name);
    if (path === "") {
      if (type === "directory") return null;
      throw refuse(header.name, "has no name");
    }
    const entry = this.#read(header, type, path);
    this.#claimParents(path);
    this.#claim(path, entry.kind);
    return entry;
  }

  #read(header: TarHeader, type: NonNullable<TarHeader["type"]>, path: string): Entry {
    switch (type) {
      case "directory":
        return { kind: "directory", path };
      case "file":
        return { kind: "file", path, executable: ((header.mode ?? 0) & 0o111) !== 0 };
      case "symlink":
        return { kind: "symlink", path, target: checkTarget(path, header.linkname ?? "") };
      case "link": {
        const source = checkPath(header.linkname ?? "");
        const known = this.#kinds.get(foldedPath(source));
        if (known?.path !== source || (known.kind !== "file" && known.kind !== "hardlink")) {
          throw refuse(path, "is a link to something that isn't an earlier file of the archive");
        }
        return { kind: "hardlink", path, source };
      }
      case "character-device":
      case "block-device":
      case "fifo":
        throw refuse(path, "is a device");
      case "pax-header":
      case "pax-global-header":
      case "gnu-long-name":
      case "gnu-long-link-name":
        throw refuse(path, "is metadata in the place of a file");
    }
  }

  /** Directories on the way exist from here on, whether or not the archive names them. */
  #claimParents(path: string): void {
    for (let end = path.indexOf("/"); end !== -1; end = path.indexOf("/", end + 1)) {
      this.#claim(path.slice(0, end), "directory");
    }
  }

  #claim(path: string, kind: Entry["kind"]): void {
    const key = foldedPath(path);
    const known = this.#kinds.get(key);
    if (known === undefined) {
      // A single entry implies up to a hundred directories.
      if (this.#kinds.size >= ENTRIES_LIMIT) throw tooMany();
      this.#kinds.set(key, { path, kind });
      return;
    }
    if (known.path !== path) throw refuse(path, `differs from ${known.path} only in case`);
    if (known.kind === "directory" && kind === "directory") return;
    if (kind === "directory")
      throw refuse(path, "is a directory and something else, or leads through a link");
    throw refuse(path, "is there twice");
  }
}

function checkPath(name: string): string {
  const why = whyRefusedPath(name);
  if (why !== null) throw refuse(name, why);
  return name
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/");
}

function checkTarget(path: string, target: string): string {
  const why = whyRefusedLink(path, target);
  if (why !== null) throw refuse(path, why);
  return target;
}

function tooMany(): RunnerError {
  return new RunnerError(
    "archive_too_large",
    `The archive has more than ${ENTRIES_LIMIT} entries and directories.`,
  );
}

function refuse(name: string, why: string): RunnerError {
  const shown = name.length > 200 ? `${name.slice(0, 200)}…` : name;
  return new RunnerError("invalid_archive", `The archive is refused: ${JSON.stringify(shown)} ${why}.`);
}
