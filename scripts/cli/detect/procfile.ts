import type { ProjectFiles } from "./project-files.ts";

/** The command of `web:` in a Procfile. */
export function procfileWeb(files: ProjectFiles): string | null {
  return /^web:[^\S\n]*(\S.*?)\s*$/m.exec(files.read("Procfile") ?? "")?.[1] ?? null;
}
