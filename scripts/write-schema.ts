import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { format } from "prettier";
import { projectRoot } from "./build/worker.ts";
import { configJsonSchema } from "./cli/config-schema.ts";

const file = join(projectRoot, "docs/signalbox.schema.json");
await writeFile(file, await format(JSON.stringify(configJsonSchema()), { parser: "json", printWidth: 110 }));
console.log(relative(projectRoot, file));
