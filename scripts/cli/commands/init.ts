import { existsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { command } from "../command.ts";
import { CONFIG_FILE } from "../config-file.ts";
import type { Config } from "../config-schema.ts";
import { nameOf } from "../deploy/plan.ts";
import { lookAt, undecided } from "../deploy/project.ts";
import { Failure } from "../failure.ts";

export const init = command({
  name: "init",
  summary: `writes what deploy would do with a directory to ${CONFIG_FILE}, to be changed there`,
  arguments: [{ name: "DIRECTORY", summary: "what is to be deployed; here", optional: true }],
  flags: {},
  async run(context, { arguments: [given = "."] }) {
    const directory = resolve(context.cwd, given);
    const file = join(directory, CONFIG_FILE);
    if (existsSync(file)) {
      throw new Failure("usage", "config_exists", `${file} is there already. Change it, or delete it first.`);
    }
    if (!existsSync(directory))
      throw new Failure("usage", "no_directory", `There is no directory ${directory}.`);
    const project = lookAt(directory);
    const { install, build, start, env } = project.detected;
    if (start === null) throw undecided(project);
    const config: Config = {
      app: nameOf(directory),
      ...(install === null ? {} : { install: install.command }),
      ...(build === null ? {} : { build: build.command }),
      start: start.command,
      ...(Object.keys(env).length === 0 ? {} : { env }),
    };
    writeFileSync(file, `${JSON.stringify(config, null, 2)}\n`, { flag: "wx" });
    context.output.result({ file, ...config }, () =>
      [`${file} says now what signalbox deploy does:`, JSON.stringify(config, null, 2)].join("\n"),
    );
  },
});
