import type { OpenAPIHono, RouteConfig } from "@hono/zod-openapi";
import type * as apps from "./apps.ts";
import type * as audit from "./audit.ts";
import type * as builds from "./builds.ts";
import type * as deploymentSource from "./deployment-source.ts";
import type * as deployments from "./deployments.ts";
import type * as events from "./events.ts";
import type * as janitor from "./janitor.ts";
import type * as logs from "./logs.ts";
import type * as placements from "./placements.ts";
import type * as projectEnv from "./project-env.ts";
import type * as projectFiles from "./project-files.ts";
import type * as projectGit from "./project-git.ts";
import type * as projectMove from "./project-move.ts";
import type * as projectLogs from "./project-logs.ts";
import type * as projects from "./projects.ts";
import type * as runnerAgents from "./runner-agents.ts";
import type * as runners from "./runners.ts";
import type * as sources from "./sources.ts";
import type * as tokens from "./tokens.ts";
import type * as traffic from "./traffic.ts";

/**
 * The type that `hono/client` builds clients from. It comes from the routes alone, without their handlers: a client
 * compiles with Node's types, which contradict the Worker's.
 */
export type ControlApi = ReturnType<
  typeof router.openapiRoutes<
    [
      | Routes<typeof apps>
      | Routes<typeof audit>
      | Routes<typeof builds>
      | Routes<typeof deploymentSource>
      | Routes<typeof deployments>
      | Routes<typeof events>
      | Routes<typeof janitor>
      | Routes<typeof logs>
      | Routes<typeof placements>
      | Routes<typeof projectEnv>
      | Routes<typeof projectFiles>
      | Routes<typeof projectGit>
      | Routes<typeof projectMove>
      | Routes<typeof projectLogs>
      | Routes<typeof projects>
      | Routes<typeof runnerAgents>
      | Routes<typeof runners>
      | Routes<typeof sources>
      | Routes<typeof tokens>
      | Routes<typeof traffic>,
    ]
  >
>;

declare const router: OpenAPIHono;

type Routes<Module> = Route<Module[keyof Module]>;
type Route<R> = R extends RouteConfig ? { route: R; handler: never } : never;
