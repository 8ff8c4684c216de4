import { join } from "node:path";
import { z } from "zod";
import { projectRoot } from "../../scripts/build/worker.ts";
import { archiveOf } from "./archive.ts";
import { CONTROL_TOKEN, type TestStack } from "./stack.ts";

/** How a runner starts this project's app for tests, whatever its source is. */
export const TUNNEL_APP = `exec "${process.execPath}" "${join(projectRoot, "test/helpers/tunnel-app.ts")}"`;

const uploaded = z.object({ sha256: z.string(), bytes: z.number() });

/** Uploads through the edge; answers the hash. */
export async function uploadSource(stack: TestStack, runnerId: string, archive: Buffer): Promise<string> {
  const { status, text } = await putSource(stack, runnerId, new Uint8Array(archive));
  if (status !== 200) throw new Error(`Uploading to ${runnerId}: ${status} ${text}`);
  return uploaded.parse(JSON.parse(text)).sha256;
}

export async function putSource(
  stack: TestStack,
  runnerId: string,
  body: NonNullable<RequestInit["body"]>,
  type = "application/gzip",
): Promise<{ status: number; text: string }> {
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/runners/${runnerId}/sources`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, "content-type": type },
    body,
    duplex: "half",
  });
  return { status: response.status, text: await response.text() };
}

/** Begins a deployment of a source on a runner. */
export async function deploy(
  stack: TestStack,
  app: string,
  id: string,
  target: Record<string, unknown> & { sha256: string },
): Promise<void> {
  const { sha256, ...rest } = target;
  const { status, body } = await stack.api("POST", `/apps/${app}/deployments`, {
    id,
    target: { kind: "runner", source: { sha256 }, start: TUNNEL_APP, ...rest },
  });
  if (status !== 202) throw new Error(`Deploying ${id}: ${JSON.stringify(body)}`);
}

/** Uploads a source that hardly matters and deploys the app for tests; returns once it serves. */
export async function deployTunnelApp(
  stack: TestStack,
  runner: { id: string },
  app: string,
  id: string,
  more: Record<string, unknown> = {},
): Promise<void> {
  const archive = await archiveOf({ "README.md": "An app for tests.\n" });
  const sha256 = await uploadSource(stack, runner.id, archive);
  await deploy(stack, app, id, { sha256, runnerId: runner.id, ...more });
  await stack.control.until(app, id, ["active"], 60_000);
}
