import type { Command } from "../command.ts";
import { deploy } from "./deploy.ts";
import { ensure } from "./ensure.ts";
import { projects } from "./projects.ts";
import { scaffold } from "./scaffold.ts";
import { status } from "./status.ts";

/** Every command, in the order of the overview. */
export const commands: readonly Command[] = [scaffold, ensure, deploy, status, projects];
