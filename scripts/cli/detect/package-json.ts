import { z } from "zod";
import { parseUserJson } from "../../../functions/protocol/user-json.ts";
import type { ProjectFiles } from "./project-files.ts";

const texts = z.record(z.string(), z.string()).catch({});
const schema = z.object({
  name: z.string().optional().catch(undefined),
  main: z.string().optional().catch(undefined),
  packageManager: z.string().optional().catch(undefined),
  scripts: texts.default({}),
  dependencies: texts.default({}),
  devDependencies: texts.default({}),
  optionalDependencies: texts.default({}),
  workspaces: z
    .union([z.array(z.string()), z.object({ packages: z.array(z.string()) }).transform((it) => it.packages)])
    .optional()
    .catch(undefined),
});

export interface PackageJson extends Omit<z.infer<typeof schema>, `${string}ependencies`> {
  /** Of every kind, with what is wanted of each. */
  dependencies: Record<string, string>;
}

/** Null if there is none, or none that can be read: its own tools will say what is wrong with it. */
export function readPackageJson(files: ProjectFiles): PackageJson | null {
  const text = files.read("package.json");
  if (text === null) return null;
  try {
    const { devDependencies, optionalDependencies, ...rest } = schema.parse(parseUserJson(text));
    return {
      ...rest,
      dependencies: { ...devDependencies, ...optionalDependencies, ...rest.dependencies },
    };
  } catch {
    return null;
  }
}
