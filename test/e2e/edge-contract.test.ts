import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startBackend } from "../helpers/backend.ts";
import { change, deployUrl, putApp } from "../helpers/deploy.ts";
import { newPageId, openPage } from "../helpers/page-client.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
const backends: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  stack = await startTestStack();
});

afterAll(async () => {
  await Promise.all(backends.map((backend) => backend.close()));
  await stack.stop();
});

async function plain(app: string, id: string, handler?: PlainApp["handler"]): Promise<PlainApp> {
  const backend = await startPlainApp(id);
  backends.push(backend);
  if (handler) backend.handler = handler;
  await deployUrl(stack, app, id, backend.url);
  return backend;
}

async function view(app: string, id: string): Promise<Record<string, unknown>> {
  return (await stack.api("GET", `/apps/${app}/deployments/${id}`)).body;
}

interface Decision {
  app: string;
  deployment: string;
  reason: string;
  detail: string;
}

async function decision(app: string, dryRun = true): Promise<string> {
  const { body } = await stack.api("POST", "/janitor/run", { dryRun });
  const found = (body["decisions"] as Decision[]).find((one) => one.app === app);
  return found === undefined ? "" : `${found.reason}: ${found.detail}`;
}

async function decides(app: string, wanted: string): Promise<void> {
  await until(
    () => decision(app),
    (seen) => seen.includes(wanted),
  );
}

const HOST = (app: string): string => `${app}.localhost`;

test.concurrent(
  "auto takes the app contract where a backend has it, and else the edge's, for each version",
  async () => {
    await putApp(stack, "mixed", {});
    expect((await stack.api("GET", "/apps/mixed")).body["contract"]).toBe("auto");
    const pulse = await startBackend("v1");
    backends.push(pulse);
    await deployUrl(stack, "mixed", "v1", pulse.url);
    await plain("mixed", "v2");
    expect((await view("mixed", "v1"))["contract"]).toBe("pulse");
    expect((await view("mixed", "v2"))["contract"]).toBe("edge");
    await putApp(stack, "mixed", { contract: "none" });
    expect((await view("mixed", "v1"))["contract"]).toBe("pulse");
  },
);

test.concurrent.each<[name: string, status: number, body: string, headers: Record<string, string>]>([
  ["a page for every path", 200, "<!doctype html><title>app</title>", { "content-type": "text/html" }],
  ["a redirect to a sign-in", 302, "", { location: "/login" }],
  ["a sign-in by 401", 401, "", { "www-authenticate": "Basic" }],
  ["nothing at its root", 404, "", {}],
])("a server with %s is verified", async (name, status, body, headers) => {
  const app = `verified-${status}`;
  await putApp(stack, app, {});
  await plain(app, "v1", (_, response) => {
    response.writeHead(status, headers).end(body);
    return true;
  });
  expect((await view(app, "v1"))["contract"]).toBe("edge");
});

test.concurrent.each<
  [name: string, status: number, headers: Record<string, string>, config: object, why: string]
>([
  ["that refuses the name it is asked under", 403, {}, {}, "/ answered 403"],
  ["that fails", 500, {}, {}, "/ answered 500"],
  ["that isn't up", 502, {}, {}, "/_pulse/meta answered 502"],
  ["that Railway stands in for", 404, { "x-railway-fallback": "true" }, {}, "answered 404"],
  ["without the health path that an operator named", 404, {}, { healthPath: "/up" }, "/up answered 404"],
])("a server %s isn't verified", async (name, status, headers, config, why) => {
  const app = `refused-${name.replace(/\W+/g, "-").toLowerCase()}`.slice(0, 60);
  const backend = await startPlainApp("v1");
  backends.push(backend);
  backend.handler = (_, response) => {
    response.writeHead(status, headers).end();
    return true;
  };
  await putApp(stack, app, { verifyTimeoutSeconds: 1, ...config });
  await stack.api("POST", `/apps/${app}/deployments`, {
    id: "v1",
    target: { kind: "url", url: backend.url },
  });
  await until(
    () => view(app, "v1"),
    ({ state }) => state === "failed",
  );
  expect(JSON.stringify((await view(app, "v1"))["failure"])).toContain(why);
});

test.concurrent("a backend that says that it is another deployment isn't verified", async () => {
  const other = await startBackend("somebody-else");
  backends.push(other);
  await putApp(stack, "mistaken", { verifyTimeoutSeconds: 1 });
  await stack.api("POST", "/apps/mistaken/deployments", {
    id: "v1",
    target: { kind: "url", url: other.url },
  });
  await until(
    () => view("mistaken", "v1"),
    ({ state }) => state === "failed",
  );
  expect(JSON.stringify((await view("mistaken", "v1"))["failure"])).toContain("set PULSE_DEPLOYMENT_ID=v1");
});

test.concurrent(
  "a page counts while it is open, after a cut for as long as it may come back, and not once it is closed",
  async () => {
    await putApp(stack, "counted", { previousRetentionSeconds: 0 });
    await plain("counted", "v1");
    const [one, other] = [await openPage(stack, HOST("counted")), await openPage(stack, HOST("counted"))];
    await plain("counted", "v2");
    await decides("counted", "2 live");
    one.socket.close();
    await decides("counted", "1 live");
    other.socket.terminate();
    await decides("counted", "1 live");
    const back = await openPage(stack, HOST("counted"));
    await decides("counted", "2 live");
    back.socket.close(1000);
    await decides("counted", "1 live");
    await decides("counted", "no_sessions");
  },
);

test.concurrent(
  "a document that can't have the helper keeps its version: nobody knows whether it is open",
  async () => {
    await putApp(stack, "strict", { previousRetentionSeconds: 0 });
    await plain("strict", "v1", (_, response) => {
      const headers = { "content-type": "text/html", "content-security-policy": "default-src 'none'" };
      response.writeHead(200, headers).end("<p>x");
      return true;
    });
    await stack.request(HOST("strict"), "/", { headers: { accept: "text/html" } });
    await plain("strict", "v2");
    await decides("strict", "sessions_unknown: a page that can't be counted was there at");
  },
);

test.concurrent("a document that was served a moment ago isn't missed", async () => {
  await putApp(stack, "loading", { previousRetentionSeconds: 0 });
  await plain("loading", "v1");
  await plain("loading", "v2");
  await decides("loading", "sessions_unknown: a page may be loading");
  await decides("loading", "no_sessions");
  const headers = { accept: "text/html", "x-pulse-deployment": "v1" };
  expect((await stack.request(HOST("loading"), "/", { headers })).status).toBe(200);
  await decides("loading", "sessions_unknown: a page may be loading");
});

test.concurrent(
  "with sticky visitors a version outlives its pages by the time that a visit lasts",
  async () => {
    await putApp(stack, "sticky", {
      previousRetentionSeconds: 0,
      stickiness: "visitor",
      visitIdleSeconds: 3_600,
    });
    await plain("sticky", "v1");
    await plain("sticky", "v2");
    await decides("sticky", "sessions_unknown: a visitor may come back");
  },
);

test.concurrent(
  "pages are told to reload, those too that come back meanwhile, and not once a rollback keeps them",
  async () => {
    await putApp(stack, "told", { previousRetentionSeconds: 3_600, reloadGraceSeconds: 3_600 });
    await plain("told", "v1");
    const page = await openPage(stack, HOST("told"));
    await plain("told", "v2");
    await stack.api("DELETE", "/apps/told/deployments/v1");
    await until(
      () => page.heard,
      (heard) => heard.includes("reload"),
    );
    expect((await view("told", "v1"))["retirement"]).toMatchObject({ reloadedSockets: 1 });
    const late = await openPage(stack, HOST("told"));
    await until(
      () => late.heard,
      (heard) => heard.join() === "welcome,reload",
    );
    await change(stack, "POST", "/apps/told/deployments/v1/promote");
    expect((await view("told", "v1"))["state"]).toBe("active");
  },
);

test.concurrent("pages of a version that is gone are told so as they come back", async () => {
  await putApp(stack, "gone", { previousRetentionSeconds: 0, reloadGraceSeconds: 0 });
  await plain("gone", "v1");
  const page = await openPage(stack, HOST("gone"));
  await plain("gone", "v2");
  await stack.api("DELETE", "/apps/gone/deployments/v1");
  expect(await page.closed).toBe(1012);
  await until(
    () => view("gone", "v1"),
    ({ state }) => state === "removed",
  );
  for (const deployment of ["v1", "never", "constructor"]) {
    const late = await openPage(stack, HOST("gone"), { deployment });
    expect(await late.closed).toBe(4409);
    expect(late.heard).toEqual(["reload"]);
  }
  const path = "/_signalbox/page?deployment=";
  expect((await stack.request(HOST("gone"), `${path}v1`)).status).toBe(409);
  expect((await stack.request(HOST("gone"), `${path}v2`)).status).toBe(204);
});

test.concurrent("a version that is too old for the app's minimum is gone for its pages", async () => {
  await putApp(stack, "old", {});
  await plain("old", "v1");
  await plain("old", "v2");
  await change(stack, "PUT", "/apps/old/minimum", { id: "v2" });
  const page = await openPage(stack, HOST("old"));
  expect([await page.closed, page.heard]).toEqual([4409, ["reload"]]);
});

test.concurrent("only pages of the same origin are listened to, and they have nothing to say", async () => {
  await putApp(stack, "own", {});
  await plain("own", "v1");
  for (const origin of ["https://evil.test", "null", ""]) {
    await expect(openPage(stack, HOST("own"), { origin })).rejects.toThrow("403");
  }
  await expect(openPage(stack, HOST("own"), { page: "x" })).rejects.toThrow("400");
  const page = await openPage(stack, HOST("own"));
  page.socket.send("ping");
  await until(
    () => page.heard,
    (heard) => heard.includes("pong"),
  );
  page.socket.send("anything else");
  expect(await page.closed).toBe(1008);
});

test.concurrent("a page has one place, however often it connects", async () => {
  await putApp(stack, "twice", { previousRetentionSeconds: 0 });
  await plain("twice", "v1");
  const page = newPageId();
  const first = await openPage(stack, HOST("twice"), { page });
  const second = await openPage(stack, HOST("twice"), { page });
  expect(await first.closed).toBe(1000);
  await plain("twice", "v2");
  await decides("twice", "1 live");
  expect(second.socket.readyState).toBe(WebSocket.OPEN);
});

test.concurrent("with contract none nothing is put into pages and nobody is counted", async () => {
  await putApp(stack, "pipe", { contract: "none" });
  await plain("pipe", "v1");
  const { text } = await stack.request(HOST("pipe"), "/", { headers: { accept: "text/html" } });
  expect(text).not.toContain("_signalbox");
  expect(await (await openPage(stack, HOST("pipe"))).closed).toBe(4404);
});

test("pages count on through a crash of the Worker until they are back", async () => {
  await putApp(stack, "crashed", { previousRetentionSeconds: 0 });
  await plain("crashed", "v1");
  const page = newPageId();
  const lost = await openPage(stack, HOST("crashed"), { page });
  await plain("crashed", "v2");
  await decides("crashed", "1 live");
  await stack.kill();
  await lost.closed;
  await stack.restart();
  await decides("crashed", "1 live");
  const back = await openPage(stack, HOST("crashed"), { page });
  await decides("crashed", "1 live");
  back.socket.close(1000);
  await decides("crashed", "no_sessions");
});
