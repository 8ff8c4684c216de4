/** The part of a runner's own API that is about what is in a project. See PROTOCOL.md, section 5. */

import type { ProjectView } from "./builds.ts";
import { isObject } from "./control.ts";
import type { GitDiff, GitRemote, GitState } from "./project-git.ts";
import { envReceivers, type NewEnvVariable, type ProjectEnv } from "./project-env.ts";

const query = (values: Readonly<Record<string, string | number | undefined>>): string =>
  Object.entries(values)
    .flatMap(([name, value]) => (value === undefined ? [] : `${name}=${encodeURIComponent(value)}`))
    .join("&");

export const workspacePaths = {
  /** GET, PUT {@link NewEnvVariable}s → {@link ProjectEnv}. */
  env: (slug: string) => `/projects/${slug}/env`,
  /** DELETE → {@link ProjectEnv}. */
  variable: (slug: string, name: string) => `/projects/${slug}/env/${encodeURIComponent(name)}`,
  /** GET → {@link ProjectFiles}. */
  files: (slug: string, path: string) => `/projects/${slug}/files?${query({ path })}`,
  /** GET → {@link ProjectFile}; PUT {@link NewFile} → {@link WrittenFile}; DELETE → {@link DeletedFile}. */
  file: (slug: string, path: string, encoding?: FileEncoding) =>
    `/projects/${slug}/file?${query({ path, encoding })}`,
  /** GET → {@link FoundFiles}. */
  search: (slug: string, wanted: FileSearch) => `/projects/${slug}/search?${query({ ...wanted })}`,
  /** GET → server-sent events `files`, each {@link FileChanges}. */
  changes: (slug: string) => `/projects/${slug}/changes`,
  /** GET, PUT {@link GitRemote} → {@link GitState}. */
  git: (slug: string) => `/projects/${slug}/git`,
  /** POST {@link GitAct} → {@link GitState}. */
  gitAct: (slug: string, act: "init" | "commit" | "push" | "sync") => `/projects/${slug}/git/${act}`,
  /** GET → a gzipped tar. */
  export: (slug: string) => `/projects/${slug}/export`,
  /** The same, refused if anything of it can't be packed. */
  exportWhole: (slug: string) => `/projects/${slug}/export?whole=1`,
  /** POST {@link Hold} → {@link Belongings}, once nothing of it runs. */
  hold: (slug: string) => `/projects/${slug}/hold`,
  /** POST {@link NewSlug} → {@link ProjectView}, also when it has that slug already. */
  slug: (slug: string) => `/projects/${slug}/slug`,
  /** POST fills a new project with its source → {@link ProjectView}. */
  fill: (slug: string) => `/projects/${slug}/fill`,
  /** GET → {@link GitDiff}. */
  diff: (slug: string) => `/projects/${slug}/git/diff`,
  /** GET → a `HostedLogPage`. */
  logs: (slug: string, asked: Partial<Record<"cursor" | "limit" | "wait", number>>) =>
    `/projects/${slug}/logs?${query(asked)}`,
} as const;

/** Characters of a file that is written: 2 MiB in base64, and some. */
export const FILE_CONTENT_LIMIT = 3 * 1024 * 1024;

export type FileEncoding = "utf8" | "base64";
export const fileTypes = ["file", "directory", "symlink", "other"] as const;

export interface ListedFile {
  name: string;
  /** Relative to the project. */
  path: string;
  /** A symlink is listed as such, and followed only while it stays inside the project. */
  type: (typeof fileTypes)[number];
  /** Bytes, of files only. */
  size?: number | undefined;
}

export interface ProjectFiles {
  path: string;
  files: ListedFile[];
  /** There are more. */
  truncated: boolean;
}

export interface ProjectFile {
  path: string;
  content: string;
  encoding: FileEncoding;
  /** Bytes. */
  size: number;
  /** Of all of it; older runners don't say it. */
  sha256?: string | undefined;
}

export interface NewFile {
  content: string;
  encoding: FileEncoding;
  /** Refuses with `changed_meanwhile` if the file is another by now; null: there must be none. */
  replaces?: string | null | undefined;
}

export interface WrittenFile {
  path: string;
  size: number;
  sha256?: string | undefined;
}

export interface DeletedFile {
  path: string;
  /** Whether there was one. */
  existed: boolean;
}

export interface FileSearch {
  /** A part of the path, or a pattern with `*` and `?`. */
  name?: string | undefined;
  /** What a line has in it, in this very spelling. */
  text?: string | undefined;
  /** Where to look. */
  path?: string | undefined;
  limit?: number | undefined;
}

export interface FoundFile {
  path: string;
  /** From 1; of a search for text. */
  line?: number | undefined;
  text?: string | undefined;
}

export interface FoundFiles {
  matches: FoundFile[];
  /** There may be more: a limit ended the search. */
  truncated: boolean;
}

/** What changed since the last ones. */
export interface FileChanges {
  changed: string[];
  deleted: string[];
  /** So much changed that not all of it is said. */
  truncated: boolean;
}

/** For a commit and a push; a push with a message commits first. */
export interface GitAct {
  message: string | null;
}

/** While it is held, nothing of a project starts or is changed: it is being moved. */
export interface Hold {
  held: boolean;
}

export interface NewSlug {
  slug: string;
}

/** What goes along with a project's files when it moves. The variables are with their values, on their way only. */
export interface Belongings {
  name: string;
  agent: string;
  variables: NewEnvVariable[];
  git: GitRemote;
}

/** Every call, as the runner's router matches it, and its answer. */
export interface WorkspaceAnswers {
  "GET projects/*/env": ProjectEnv;
  "PUT projects/*/env": ProjectEnv;
  "DELETE projects/*/env/*": ProjectEnv;
  "GET projects/*/files": ProjectFiles;
  "GET projects/*/file": ProjectFile;
  "PUT projects/*/file": WrittenFile;
  "DELETE projects/*/file": DeletedFile;
  "GET projects/*/search": FoundFiles;
  "GET projects/*/changes": null;
  "GET projects/*/export": null;
  "POST projects/*/hold": Belongings;
  "POST projects/*/slug": ProjectView;
  "POST projects/*/fill": ProjectView;
  "GET projects/*/git": GitState;
  "PUT projects/*/git": GitState;
  "POST projects/*/git/init": GitState;
  "POST projects/*/git/commit": GitState;
  "POST projects/*/git/push": GitState;
  "POST projects/*/git/sync": GitState;
  "GET projects/*/git/diff": GitDiff;
}

// Parsers return null for anything else, and drop unknown fields.

export function parseProjectFiles(value: unknown): ProjectFiles | null {
  if (!isObject(value) || !Array.isArray(value["files"])) return null;
  const { path, truncated } = value;
  const files = value["files"].map(parseListedFile).filter((file) => file !== null);
  if (typeof path !== "string" || typeof truncated !== "boolean" || files.length < value["files"].length)
    return null;
  return { path, files, truncated };
}

function parseListedFile(value: unknown): ListedFile | null {
  if (!isObject(value)) return null;
  const { name, path, size } = value;
  const type = fileTypes.find((one) => one === value["type"]);
  if (typeof name !== "string" || typeof path !== "string" || type === undefined) return null;
  return { name, path, type, ...(typeof size === "number" ? { size } : {}) };
}

export function parseProjectFile(value: unknown): ProjectFile | null {
  if (!isObject(value)) return null;
  const { path, content, encoding, size } = value;
  if (typeof path !== "string" || typeof content !== "string" || typeof size !== "number") return null;
  if (encoding !== "utf8" && encoding !== "base64") return null;
  return { path, content, encoding, size, ...hashOf(value) };
}

function hashOf({ sha256 }: Record<string, unknown>): { sha256?: string } {
  return typeof sha256 === "string" ? { sha256 } : {};
}

export function parseWrittenFile(value: unknown): WrittenFile | null {
  if (!isObject(value) || typeof value["path"] !== "string" || typeof value["size"] !== "number") return null;
  return { path: value["path"], size: value["size"], ...hashOf(value) };
}

export function parseDeletedFile(value: unknown): DeletedFile | null {
  if (!isObject(value) || typeof value["path"] !== "string" || typeof value["existed"] !== "boolean")
    return null;
  return { path: value["path"], existed: value["existed"] };
}

export function parseFoundFiles(value: unknown): FoundFiles | null {
  if (!isObject(value) || !Array.isArray(value["matches"]) || typeof value["truncated"] !== "boolean")
    return null;
  const matches = value["matches"].map((one: unknown) => {
    if (!isObject(one) || typeof one["path"] !== "string") return null;
    const { path, line, text } = one;
    return {
      path,
      ...(typeof line === "number" ? { line } : {}),
      ...(typeof text === "string" ? { text } : {}),
    };
  });
  const known = matches.filter((one) => one !== null);
  return known.length < matches.length ? null : { matches: known, truncated: value["truncated"] };
}

/** Its parts are checked by the runner that it goes to. */
export function parseBelongings(value: unknown): Belongings | null {
  if (!isObject(value) || !Array.isArray(value["variables"]) || !isObject(value["git"])) return null;
  const { name, agent, git } = value;
  if (typeof name !== "string" || typeof agent !== "string") return null;
  const { remote, branch, pushAfterBuild } = git;
  if (remote !== null && typeof remote !== "string") return null;
  if (typeof branch !== "string" || typeof pushAfterBuild !== "boolean") return null;
  const variables = value["variables"].map((one: unknown): NewEnvVariable | null => {
    if (!isObject(one) || typeof one["name"] !== "string" || typeof one["value"] !== "string") return null;
    const receiver = envReceivers.find((known) => known === one["for"]);
    if (receiver === undefined || typeof one["secret"] !== "boolean") return null;
    return { name: one["name"], value: one["value"], secret: one["secret"], for: receiver };
  });
  const known = variables.filter((one) => one !== null);
  if (known.length < variables.length) return null;
  return { name, agent, variables: known, git: { remote, branch, pushAfterBuild } };
}
