import { callProject } from "../projects/call-project.ts";
import { parseRunnerAgents } from "../protocol/agents.ts";
import { runnerPaths } from "../protocol/runner-api.ts";
import { controlRouter } from "./openapi.ts";
import { read } from "./routes/runner-agents.ts";

export const runnerAgents = controlRouter().openapi(read, async (c) => {
  const at = { env: c.env.control.env, runnerId: c.req.valid("param").id };
  return c.json(await callProject(at, "GET", runnerPaths.agents, parseRunnerAgents), 200);
});
