import { existsSync, statSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import type { Config } from "../config-schema.ts";
import { detect, type Decision, type Detected } from "../detect/detect.ts";
import { filesBelow, projectFiles } from "../detect/project-files.ts";
import { inDirectory } from "../detect/shell.ts";
import { serveCommand } from "../detect/static-files.ts";
import { isMember, workspacePatterns } from "../detect/workspace.ts";
import { Failure } from "../failure.ts";
import { directoriesUpward } from "../trust.ts";

/** A directory to deploy: what it is, and what is sent of it. */
export interface Project {
  /** What is packed: the directory, or the root of the workspace that it is a member of. */
  root: string;
  /** From the root, with forward slashes; empty: the root itself. */
  member: string;
  detected: Detected;
}

/** How a project is built and started; what was given wins over what was recognised. */
export interface Commands {
  install: string | undefined;
  build: string | undefined;
  start: string;
  env: Record<string, string>;
  decisions: Decision[];
}

/** `alone`: its own install command makes do without the workspace. */
export function lookAt(given: string, alone = false): Project {
  const directory = resolve(given);
  for (const root of alone ? [] : possibleRoots(directory)) {
    const member = relative(root, directory).split(sep).join("/");
    const files = projectFiles(root);
    const patterns = workspacePatterns(files);
    if (patterns === null || !isMember(patterns, member) || !filesBelow(files, member).has("package.json"))
      continue;
    return { root, member, detected: detect(files, member) };
  }
  return { root: directory, member: "", detected: detect(projectFiles(directory), "") };
}

/** Up to the repository's root; outside of one, as long as the directories are the same person's and below their home. */
function possibleRoots(directory: string): string[] {
  const inRepository = directoriesUpward(directory).slice(1);
  if (inRepository.length > 0 || existsSync(join(directory, ".git"))) return inRepository;
  const owner = ownerOf(directory);
  const roots: string[] = [];
  for (let at = dirname(directory); ; at = dirname(at)) {
    const isShared = at === dirname(at) || at === homedir() || at === tmpdir();
    if (owner === null || isShared || ownerOf(at) !== owner) return roots;
    roots.push(at);
  }
}

function ownerOf(directory: string): number | null {
  return statSync(directory, { throwIfNoEntry: false })?.uid ?? null;
}

/** Throws {@link Failure} `no_start` or `which_member` if nothing says how it is started. */
export function commandsFor({ root, member, detected }: Project, config: Config): Commands {
  const decisions: Decision[] = [];
  const decide = (
    what: Decision["what"],
    found: { command: string; why: string } | null,
  ): string | undefined => {
    const given = what === "install" || what === "build" || what === "start" ? config[what] : undefined;
    if (given !== undefined) return given;
    if (found === null) return undefined;
    decisions.push({ what, value: found.command, why: found.why });
    return found.command;
  };
  if (member !== "") {
    decisions.push({ what: "root", value: root, why: `${member} is a member of the workspace there` });
  }
  const install = decide("install", detected.install);
  const build = decide("build", detected.build);
  const start = startOf(config, detected) ?? decide("start", detected.start);
  if (start === undefined) throw undecided({ root, member, detected });
  const wanted = Object.entries(detected.env).filter(([name]) => config.env?.[name] === undefined);
  if (wanted.length > 0) {
    const value = wanted.map(([name, text]) => `${name}=${text}`).join(" ");
    decisions.push({ what: "env", value, why: detected.name });
  }
  const there = (command: string): string => (member === "" ? command : inDirectory(member, command));
  return {
    install,
    build: build === undefined ? undefined : there(build),
    start: there(start),
    env: { ...Object.fromEntries(wanted), ...config.env },
    decisions,
  };
}

/** What `start` or `static` says. */
function startOf({ start, static: directory }: Config, { start: found }: Detected): string | undefined {
  if (start !== undefined || directory === undefined) return start;
  return serveCommand({ directories: [directory], spa: / --spa\b/.test(found?.command ?? "") });
}

export function undecided({ root, member, detected: { missing, members } }: Project): Failure {
  if (members.length > 0) {
    return new Failure(
      "config",
      "which_member",
      `${root} is the root of a workspace and starts nothing itself. Name what to deploy: ${members.join(", ")}; ` +
        "or say with --start how the whole of it is started.",
    );
  }
  return new Failure(
    "config",
    "no_start",
    `Nothing says how to start the server in ${member === "" ? root : `${root}/${member}`}: ${missing}. Give --start COMMAND ` +
      "for a server, or --static DIR for files to serve, with --build COMMAND if they are made first; or the same in signalbox.json.",
  );
}
