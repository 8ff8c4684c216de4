import { bunServer } from "./bun.ts";
import { entryFile } from "./entry-file.ts";
import { frameworkOf, type Framework } from "./framework.ts";
import type { PackageJson } from "./package-json.ts";
import { runProgram, runScript, type PackageManager } from "./package-manager.ts";
import type { ProjectFiles } from "./project-files.ts";
import type { Guess, Recognised } from "./recognised.ts";
import { procfileWeb } from "./procfile.ts";
import { notForVisitors } from "./start-script.ts";
import { builtFiles, serveCommand, STATIC_OUTPUTS } from "./static-files.ts";

export interface NodeProject {
  files: ProjectFiles;
  manifest: PackageJson;
  manager: PackageManager;
  isMember: boolean;
}

/** A project with a package.json. */
export function nodeProject(project: NodeProject): Recognised {
  const { files, manifest } = project;
  const framework = frameworkOf(files, manifest);
  const build = buildOf(project, framework);
  const start = startOf(project, framework, build !== null);
  return {
    name: framework?.name ?? (project.manager.name === "bun" ? "Bun" : "Node"),
    build: withAfterBuild(build, framework, start),
    start,
    env: { NODE_ENV: "production", ...framework?.env },
    ...(start === null ? { missing: missing(manifest, framework) } : {}),
  };
}

function buildOf({ manifest, manager, isMember }: NodeProject, framework: Framework | null): Guess | null {
  const script = manifest.scripts["build"];
  if (script !== undefined) {
    return { command: runScript(manager, "build"), why: `the build script of package.json: ${script}` };
  }
  if (framework === null) return null;
  return {
    command: runProgram(manager, isMember, framework.build),
    why: `${framework.name}, and no build script`,
  };
}

function startOf(project: NodeProject, framework: Framework | null, isBuilt: boolean): Guess | null {
  const { files, manifest, manager } = project;
  const web = procfileWeb(files);
  if (web !== null) return { command: web, why: "web in Procfile" };
  const script = manifest.scripts["start"];
  const replaced = replacement(script, framework);
  if (script !== undefined && replaced === null) {
    return { command: runScript(manager, "start"), why: `the start script of package.json: ${script}` };
  }
  const because = replaced === null ? "" : `; ${replaced}`;
  const own = framework === null ? null : servedBy(project, framework);
  if (own !== null) return { ...own, why: `${own.why}${because}` };
  if (framework !== null) return null;
  const bun = bunServer(files, manifest);
  if (bun !== null) return bun;
  const entry = entryFile(files, manifest);
  if (entry !== null) {
    const program = manager.name === "bun" ? "bun" : "node";
    return { command: `${program} ${entry}`, why: `${entry} starts a server${because}` };
  }
  if (isBuilt) {
    // Which of them the build makes shows once it has run.
    const command = serveCommand({ directories: STATIC_OUTPUTS });
    return { command, why: `what the build makes; nothing starts a server${because}` };
  }
  const built = builtFiles(files);
  return (
    built && { command: serveCommand(built), why: `index.html in ${built.directories.join()}${because}` }
  );
}

function replacement(script: string | undefined, framework: Framework | null): string | null {
  if (script === undefined) return null;
  if (framework?.replaces?.script.test(script)) return framework.replaces.why;
  return notForVisitors(script);
}

function servedBy({ manager, isMember }: NodeProject, { name, served }: Framework): Guess | null {
  switch (served.kind) {
    case "program":
      return { command: runProgram(manager, isMember, served.program), why: name };
    case "command":
      return { command: served.command, why: name };
    case "static":
      return { command: serveCommand(served.files), why: `${name} builds files` };
    case "none":
      return null;
  }
}

function withAfterBuild(build: Guess | null, framework: Framework | null, start: Guess | null): Guess | null {
  if (build === null || framework?.served.kind !== "command") return build;
  const { command, afterBuild } = framework.served;
  if (afterBuild === undefined || start?.command !== command) return build;
  return { ...build, command: `${build.command} && ${afterBuild}` };
}

function missing({ scripts }: PackageJson, framework: Framework | null): string {
  if (framework?.served.kind === "none") return framework.served.why;
  const script = scripts["start"];
  const why = script === undefined ? null : notForVisitors(script);
  return why ?? "package.json has no start script, and no file starts a server";
}
