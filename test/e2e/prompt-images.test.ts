import { randomBytes } from "node:crypto";
import { readdir, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { BuildsOf, saidBy } from "../helpers/builds.ts";
import { Operator } from "../helpers/cli.ts";
import { startRunner, type RunnerProcess } from "../helpers/runner.ts";
import { CONTROL_TOKEN, startTestStack, type ApiAnswer, type TestStack } from "../helpers/stack.ts";

const AGENT = `${process.execPath} ${join(projectRoot, "test/helpers/scripted-agent.mjs")}`;
const PNG = Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), randomBytes(1_000)]);
const JPEG = Buffer.concat([Buffer.from("ffd8ffe0", "hex"), randomBytes(2_000)]);

let stack: TestStack;
let runner: RunnerProcess;
let operator: Operator;
let builds: BuildsOf;
let slug: string;

beforeAll(async () => {
  stack = await startTestStack();
  const table = { seeing: { command: `SCRIPTED_IMAGES=yes ${AGENT}` }, blind: { command: AGENT } };
  runner = await startRunner(stack, { id: "gallery", env: { RUNNER_AGENTS: JSON.stringify(table) } });
  operator = await Operator.create({ url: stack.origin, controlToken: CONTROL_TOKEN });
  builds = new BuildsOf(stack);
  slug = await builds.newProject({ agent: "seeing" });
  await writeFile(join(operator.directory, "shot.png"), PNG);
  await writeFile(join(operator.directory, "photo"), JPEG);
});
afterAll(async () => {
  await operator?.remove();
  await runner?.remove();
  await stack?.stop();
});

async function upload(
  body: Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<ApiAnswer> {
  const response = await fetch(`${stack.origin}/_signalbox/api/v1/projects/${slug}/images`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, ...headers },
    body,
  });
  const answer = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body: answer };
}

/** Of an upload that is too large, and is answered before all of it is sent. */
async function refusalOf(headers: Record<string, string>): Promise<unknown> {
  const sending = request(`${stack.origin}/_signalbox/api/v1/projects/${slug}/images`, {
    method: "PUT",
    headers: { authorization: `Bearer ${CONTROL_TOKEN}`, ...headers },
  });
  sending.on("error", () => undefined); // it was answered
  const answered = once(sending, "response") as Promise<[IncomingMessage]>;
  sending.write(PNG);
  if (headers["content-length"] === undefined) {
    for (let sent = 0; sent < 11; sent++) sending.write(Buffer.alloc(1024 * 1024));
    sending.end();
  }
  const [response] = await answered;
  let text = "";
  for await (const chunk of response) text += String(chunk);
  sending.destroy();
  return (JSON.parse(text) as Record<string, unknown>)["code"];
}

const stored = (): Promise<string[]> =>
  readdir(join(runner.workspace, ".signalbox/projects", slug, "images"));

test("an agent gets the images of a prompt, from the command line, and a repair or another prompt doesn't", async () => {
  const { code, stderr } = await operator.run([
    "build",
    slug,
    "blocks",
    "--agent",
    "seeing",
    "--image",
    "shot.png",
    "--image",
    "photo",
  ]);
  expect([code, stderr]).toEqual([0, expect.stringContaining("Build ")]);
  const details = (await stack.api("GET", `/projects/${slug}`)).body["runner"] as {
    builds: { id: string }[];
  };
  const events = await builds.events(details.builds.at(-1)?.id ?? "");
  const said = saidBy(events);
  const blocks = JSON.parse(said.slice(said.indexOf("["))) as unknown;
  const base64 = (bytes: number): number => 4 * Math.ceil(bytes / 3);
  expect(blocks).toEqual([
    { type: "text", text: "blocks" },
    { type: "image", mimeType: "image/png", bytes: base64(PNG.length) },
    { type: "image", mimeType: "image/jpeg", bytes: base64(JPEG.length) },
  ]);
  expect(events).toContainEqual(expect.objectContaining({ type: "message", from: "user", images: 2 }));
  expect(saidBy(await builds.run(slug, "blocks"))).not.toContain("image/");
});

test("a project is made from a prompt with an image", async () => {
  const { code } = await operator.run([
    "projects",
    "create",
    "--prompt",
    "blocks of a bakery",
    "--slug",
    "bakery",
    "--agent",
    "seeing",
    "--image",
    "shot.png",
  ]);
  expect(code).toBe(0);
  const { body } = await stack.api("GET", "/projects/bakery");
  expect(body).toMatchObject({ name: expect.stringMatching(/bakery/i) as string });
  const [first] = (body["runner"] as { builds: { id: string }[] }).builds;
  expect(saidBy(await builds.events(first?.id ?? ""))).toContain("image/png");
});

test("an agent that takes no images isn't asked, and the build says why", async () => {
  const { sha256 } = (await upload(PNG)).body;
  const id = await builds.begin(slug, "blocks", { agent: "blind", images: [sha256] });
  const events = await builds.events(id);
  expect(events.at(-1)).toMatchObject({
    state: "failed",
    reason: expect.stringContaining("takes no images") as string,
  });
  expect(saidBy(events)).not.toContain('"text":"blocks"');
});

test("the template agent goes on without them, and says so", async () => {
  const project = await builds.newProject({ agent: "template" });
  const file = join(operator.directory, "shot.png");
  const { stdout } = await operator.run(["build", project, "a static page", "--image", file, "--detach"]);
  const events = await builds.events(stdout.trim());
  expect(events).toContainEqual(
    expect.objectContaining({ type: "log", text: "The template agent doesn't look at images." }),
  );
});

test("what isn't an image, is damaged or too large is refused, and nothing of it stays", async () => {
  await upload(PNG);
  const before = await stored();
  expect((await upload(Buffer.from("<svg/>"))).body).toMatchObject({ code: "invalid_request" });
  expect((await upload(Buffer.from(""))).status).toBe(400);
  const sha256 = "0".repeat(64);
  expect((await upload(PNG, { "x-signalbox-sha256": sha256 })).body).toMatchObject({
    code: "source_refused",
  });
  expect(await refusalOf({ "content-length": String(10 * 1024 * 1024 + 1) })).toBe("body_too_large");
  expect(await refusalOf({ "transfer-encoding": "chunked" })).toBe("body_too_large");
  expect(await stored()).toEqual(before);
  const unknown = await stack.api("POST", `/projects/${slug}/builds`, { prompt: "blocks", images: [sha256] });
  expect(unknown.body).toMatchObject({ code: "invalid_request", errors: [{ field: "images" }] });
  const many = await stack.api("POST", `/projects/${slug}/builds`, {
    prompt: "blocks",
    images: Array.from({ length: 6 }, () => sha256),
  });
  expect(many.status).toBe(400);
});

test("the command line refuses what the server would", async () => {
  await writeFile(join(operator.directory, "note.txt"), "no image");
  const { code, stderr } = await operator.run(["build", slug, "blocks", "--image", "note.txt"]);
  expect([code, stderr]).toEqual([
    2,
    expect.stringContaining("note.txt isn't a PNG, JPEG, GIF or WebP image."),
  ]);
});
