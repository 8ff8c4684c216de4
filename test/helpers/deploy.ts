import type { TestStack } from "./stack.ts";

/** Creates an app or replaces its configuration. */
export async function putApp(stack: TestStack, app: string, config: Record<string, unknown>): Promise<void> {
  const { status, body } = await stack.api("PUT", `/apps/${app}`, config);
  if (status !== 200 && status !== 201) throw new Error(`PUT ${app}: ${JSON.stringify(body)}`);
}

/** Deploys a backend by its URL and waits until it serves, or until it is ready where it isn't to be promoted. */
export async function deployUrl(
  stack: TestStack,
  app: string,
  id: string,
  url: string,
  promote = true,
  host: "public" | "own" = "public",
): Promise<void> {
  const target = { kind: "url", url, host };
  const { status, body } = await stack.api("POST", `/apps/${app}/deployments`, { id, target, promote });
  if (status !== 202) throw new Error(`Deploying ${id}: ${JSON.stringify(body)}`);
  await stack.control.until(app, id, [promote ? "active" : "ready"], 60_000);
}

/** One change of an app's traffic; throws unless it was made. */
export async function change(stack: TestStack, method: string, path: string, body?: unknown): Promise<void> {
  const answer = await stack.api(method, path, body);
  if (answer.status !== 200) throw new Error(`${method} ${path}: ${JSON.stringify(answer.body)}`);
}
