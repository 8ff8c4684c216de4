import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import {
  operatorAuthority,
  postSignIn,
  postSignOut,
  readAsOperator,
  signInOf,
  signIn,
} from "../helpers/operator.ts";
import { header, headers, rawGet, rawRequest, HANDSHAKE, type RawAnswer } from "../helpers/raw-http.ts";
import {
  CONTROL_TOKEN,
  OPERATOR_NAME,
  startTestStack,
  until,
  type PublicAnswer,
  type TestStack,
} from "../helpers/stack.ts";
import { SCRIPT, STYLE } from "../../functions/dashboard/assets.generated.ts";

let stack: TestStack;
let backend: Backend;

beforeAll(async () => {
  [stack, backend] = await Promise.all([
    startTestStack({ settings: { OPERATOR_HOST: OPERATOR_NAME } }),
    startBackend("v1"),
  ]);
  // The default app answers for every host that nobody has.
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"], default: true });
  await stack.api("POST", "/apps/shop/deployments", { id: "v1", target: { kind: "url", url: backend.url } });
  await stack.control.until("shop", "v1", ["active"], 60_000);
});

afterAll(async () => {
  await stack.stop();
  await backend.close();
});

function get(host: string, path: string, extra: Record<string, string> = {}): Promise<RawAnswer> {
  return rawRequest(stack.port, rawGet(host, path, extra));
}

describe("the Host header is looked at before the path", () => {
  test.each([
    "x/_signalbox/healthz?",
    "x/_signalbox/healthz#",
    "x\\_signalbox\\healthz?",
    "shop.test/_signalbox/healthz?",
    "shop.test:80/_signalbox/healthz?",
    "[::1]/_signalbox/healthz?",
    "/_signalbox/healthz?",
    "?",
    "#",
    "user@shop.test",
    `user@${OPERATOR_NAME}`,
    `shop.test@${OPERATOR_NAME}`,
    "shop.test:99999",
    "shop.test:x",
    "shop.test:80:80",
    "shop.test, shop.test",
    "shop test",
    "shop.test,shop.test",
    "shop.test*",
    "shop.test;x",
    "shop.test'",
    "(shop.test)",
    "sh%6fp.test",
    "shöp.test",
    "shop.test..",
    ".",
    "::1",
    "[::1",
    `${"a".repeat(63)}.`.repeat(5),
  ])("and %j is no host, whatever the path", async (host) => {
    for (const path of ["/x", "/", "/_signalbox/healthz", "/_signalbox/"]) {
      backend.seen.length = 0;
      const answer = await get(host, path);
      expect(answer.status).toBe(400);
      expect(answer.body.toString()).not.toContain('"ok":true');
      expect(backend.seen).toEqual([]);
    }
  });

  test("and two of them are none", async () => {
    const answer = await rawRequest(
      stack.port,
      "GET /_signalbox/healthz HTTP/1.1\r\nhost: shop.test\r\nhost: signalbox.localhost\r\n\r\n",
    );
    expect(answer.status).toBe(400);
  });

  test("and counts where the request target names another host", async () => {
    const target = `http://${operatorAuthority(stack)}/_signalbox/`;
    const answer = await rawRequest(stack.port, `GET ${target} HTTP/1.1\r\nhost: shop.test\r\n\r\n`);
    expect(answer.status).toBe(404);
    expect(answer.body.toString()).toContain("not_operator_host");
  });

  test.each([
    "shop.test",
    "SHOP.test",
    "shop.test.",
    "shop.test:",
    "shop.test:80",
    "shop.test:8080",
    "shop.test:080",
  ])("and %j is the host of an app", async (host) => {
    expect(header(await get(host, "/x"), "x-backend")).toBe("v1");
    expect((await get(host, "/_signalbox/healthz")).body.toString()).toBe('{"ok":true}');
  });
});

describe("the dashboard", () => {
  test("is on the operator's host, and the root leads there", async () => {
    const root = await get(operatorAuthority(stack), "/");
    expect(root.status).toBe(302);
    expect(header(root, "location")).toBe("/_signalbox/");
    const page = await get(operatorAuthority(stack), "/_signalbox/");
    expect(page.status).toBe(200);
    expect(page.body.toString()).toContain("Control token");
    expect((await get(operatorAuthority(stack).toUpperCase(), "/_signalbox/")).status).toBe(200);
  });

  test.each([
    ["an app's host", "shop.test"],
    ["an app's host below APP_DOMAIN", "shop.localhost"],
    ["a host of the default app", "any.test"],
    ["the operator's host with a dot behind it", `${OPERATOR_NAME}.`],
    ["a host below the operator's", `x.${OPERATOR_NAME}`],
    ["a host that ends like the operator's", `x${OPERATOR_NAME}`],
  ])("is not on %s: 404 that names the right one, to programs and to people", async (_name, name) => {
    const host = `${name}:${stack.port}`;
    for (const path of [
      "",
      "/",
      "/sign-in",
      "/sign-out",
      "/apps/shop",
      STYLE.slice("/_signalbox".length),
      SCRIPT.slice("/_signalbox".length),
      "/other",
    ]) {
      const answer = await get(host, `/_signalbox${path}`);
      expect(answer.status).toBe(404);
      expect(header(answer, "content-type")).toBe("application/problem+json");
      expect(JSON.parse(answer.body.toString())).toMatchObject({ code: "not_operator_host" });
      expect(answer.body.toString()).toContain(stack.dashboard);
    }
    const page = await get(host, "/_signalbox/", { accept: "text/html" });
    expect(page.status).toBe(404);
    expect(header(page, "content-type")).toBe("text/html; charset=utf-8");
    expect(page.body.toString()).toContain(stack.dashboard);
    const answer = await postSignIn(stack, {}, CONTROL_TOKEN, host);
    expect(answer.status).toBe(404);
    expect(answer.headers["set-cookie"]).toBeUndefined();
  });

  test("lets no page frame, open, embed or read it, and a cache keeps its assets alone", async () => {
    const answers = [
      await get(operatorAuthority(stack), "/_signalbox/"),
      await get(operatorAuthority(stack), "/_signalbox/apps/shop"),
      await get(operatorAuthority(stack), SCRIPT),
    ];
    for (const answer of answers) {
      expect(answer.status).toBe(200);
      const policy = header(answer, "content-security-policy") ?? "";
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("script-src 'self';");
      expect(policy).toContain("worker-src 'none'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toContain("unsafe");
      expect(header(answer, "x-frame-options")).toBe("DENY");
      expect(header(answer, "cross-origin-opener-policy")).toBe("same-origin");
      expect(header(answer, "cross-origin-resource-policy")).toBe("same-origin");
      const isAsset = answer === answers[2];
      // A view shows previews in a frame, which don't say that they may be embedded; it embeds nothing else.
      expect(header(answer, "cross-origin-embedder-policy")).toBe(isAsset ? "require-corp" : undefined);
      expect(policy.split("; ").filter((part) => part.startsWith("frame-src"))).toEqual(
        isAsset ? [] : [`frame-src http://*.preview.localhost:${stack.port}`],
      );
      expect(header(answer, "cache-control")).toBe(
        isAsset ? "public, max-age=31536000, immutable" : "no-store",
      );
      expect(answer.headers.map(([name]) => name.toLowerCase()).join(" ")).not.toMatch(
        /access-control|service-worker-allowed/,
      );
    }
  });

  test("answers no preflight", async () => {
    const request = rawGet(operatorAuthority(stack), "/_signalbox/apps", {
      origin: "http://shop.localhost",
      "access-control-request-method": "GET",
      "access-control-request-headers": "x-signalbox-key",
    }).replace("GET", "OPTIONS");
    const answer = await rawRequest(stack.port, request);
    expect(answer.status).toBe(405);
    expect(answer.headers.map(([name]) => name.toLowerCase()).join(" ")).not.toContain("access-control");
  });
});

describe("the operator's host", () => {
  test("never is an app's, the default app's included", async () => {
    for (const host of [OPERATOR_NAME, `${OPERATOR_NAME}.`, operatorAuthority(stack), `${OPERATOR_NAME}:9`]) {
      for (const path of ["/x", "/sw.js", "/_signalboxes", "/_SIGNALBOX/", "/?pulse_deployment=v1"]) {
        backend.seen.length = 0;
        const answer = await get(host, path);
        expect(header(answer, "x-backend")).toBeUndefined();
        expect(backend.seen).toEqual([]);
      }
    }
    const socket = await get(OPERATOR_NAME, "/socket", HANDSHAKE);
    expect(socket.status).toBe(404);
  });

  test("can't be claimed by an app", async () => {
    for (const app of ["shop", "new"]) {
      const answer = await stack.api("PUT", `/apps/${app}`, { hosts: ["fine.test", OPERATOR_NAME] });
      expect(answer.status).toBe(409);
      expect(answer.body).toMatchObject({ code: "host_reserved", errors: [{ field: "hosts.1" }] });
    }
    expect((await stack.api("GET", "/apps/new")).status).toBe(404);
  });

  test("can't be the name of a new app", async () => {
    const answer = await stack.api("PUT", "/apps/signalbox", {});
    expect(answer.status).toBe(409);
    expect(answer.body).toMatchObject({ code: "host_reserved", errors: [{ field: "path.app" }] });
  });
});

describe("a sign-in", () => {
  test("opens the control API with cookie and key together, and with neither alone", async () => {
    const operator = await signIn(stack);
    const other = await signIn(stack);
    expect((await readAsOperator(stack, operator)).text).toContain("shop.test");
    for (const part of [
      {},
      { cookie: operator.cookie },
      { key: operator.key },
      { cookie: operator.cookie, key: other.key },
      { cookie: operator.cookie, key: "" },
      { cookie: `${operator.cookie}0`, key: operator.key },
      { cookie: operator.cookie.replace(/.$/, (last) => (last === "0" ? "1" : "0")), key: operator.key },
      { cookie: operator.cookie.replace(/-\d+=/, "="), key: operator.key },
      { cookie: operator.cookie.replace(/-\d+=/, "-9="), key: operator.key },
      { cookie: `__Host-${operator.cookie}`, key: operator.key },
    ]) {
      const answer = await readAsOperator(stack, part);
      expect(answer.status).toBe(401);
      expect(answer.text).not.toContain("shop.test");
    }
  });

  test("ends for good with the sign-out, copies of cookie and key included", async () => {
    const operator = await signIn(stack);
    const other = await signIn(stack);
    const answer = await postSignOut(stack, operator);
    expect(answer.status).toBe(204);
    expect(answer.headers["clear-site-data"]).toBe('"storage"');
    expect(answer.headers["set-cookie"]).toContainEqual(expect.stringContaining("Max-Age=0"));
    expect((await readAsOperator(stack, operator)).status).toBe(401);
    expect((await postSignOut(stack, operator)).status).toBe(401);
    expect((await readAsOperator(stack, other)).status).toBe(200);
  });

  test("ends with the control token that it came from, and not with a restart", async () => {
    const operator = await signIn(stack);
    await stack.restart();
    expect((await readAsOperator(stack, operator)).status).toBe(200);
    await stack.restart({ CONTROL_TOKEN: "another-control-token" });
    expect((await readAsOperator(stack, operator)).status).toBe(401);
    await stack.restart();
  });

  test("is of one port and host", async () => {
    const operator = await signIn(stack);
    for (const authority of [OPERATOR_NAME, `${OPERATOR_NAME}:9`]) {
      const renamed = {
        ...operator,
        cookie: operator.cookie.replace(/-\d+=/, authority.endsWith("9") ? "-9=" : "="),
      };
      expect((await readAsOperator(stack, operator, {}, authority)).status).toBe(401);
      expect((await readAsOperator(stack, renamed, {}, authority)).status).toBe(401);
    }
    const there = await signIn(stack, `${OPERATOR_NAME}:9`);
    expect((await readAsOperator(stack, there, {}, `${OPERATOR_NAME}:9`)).status).toBe(200);
    expect((await readAsOperator(stack, there)).status).toBe(401);
  });

  test("is found behind cookies that another port or an ended sign-in left", async () => {
    const ended = await signIn(stack);
    await postSignOut(stack, ended);
    const operator = await signIn(stack);
    const [name = ""] = operator.cookie.split("=");
    const forged = operator.cookie.replace(/[0-9a-f]{64}/, "0".repeat(64));
    const tossed = Array.from({ length: 100 }, () => forged).join("; ");
    const cookie = `${tossed}; ${name}=x; ${name}=; ${ended.cookie}; a=b; ${operator.cookie}`;
    expect((await readAsOperator(stack, { cookie, key: operator.key })).status).toBe(200);
  });

  test("is one of 32: the oldest goes first", async () => {
    const oldest = await signIn(stack);
    const later = await signIn(stack);
    for (let count = 0; count < 31; count++) await signIn(stack);
    expect((await readAsOperator(stack, oldest)).status).toBe(401);
    expect((await readAsOperator(stack, later)).status).toBe(200);
  });

  test("opens nothing beside the control API", async () => {
    const { cookie, key } = await signIn(stack);
    for (const path of ["/_signalbox/metrics", "/_signalbox/status"]) {
      const answer = await get(operatorAuthority(stack), path, { cookie, "x-signalbox-key": key });
      expect(answer.status).toBe(401);
    }
  });

  test("is nothing on any other host", async () => {
    const { cookie, key } = await signIn(stack);
    for (const host of ["shop.test", "shop.localhost", `${OPERATOR_NAME}.`, "localhost"]) {
      const answer = await readAsOperator(stack, { cookie, key }, {}, `${host}:${stack.port}`);
      expect(answer.status).toBe(404);
      expect(answer.text).toContain("not_operator_host");
    }
  });

  test("changes something from the dashboard's own origin alone, as the operator", async () => {
    const { cookie, key } = await signIn(stack);
    const authority = operatorAuthority(stack);
    const put = (headers: Record<string, string>): Promise<PublicAnswer> =>
      stack.request(authority, "/_signalbox/api/v1/apps/mine", {
        method: "PUT",
        headers: { cookie, "x-signalbox-key": key, "content-type": "application/json", ...headers },
        body: "{}",
      });
    for (const wrong of [
      {},
      { origin: "null" },
      { origin: `http://shop.localhost:${stack.port}` },
      { origin: `http://${authority}`, "sec-fetch-site": "same-site" },
    ]) {
      expect((await put(wrong)).status).toBe(403);
    }
    expect((await stack.api("GET", "/apps/mine")).status).toBe(404);
    expect((await put({ origin: `http://${authority}` })).status).toBe(201);
    const audit = await stack.api("GET", "/audit?app=mine");
    expect(audit.body).toMatchObject({ entries: [{ actor: "operator", app: "mine" }] });
  });

  test("counts for nothing beside a Bearer token", async () => {
    const operator = await signIn(stack);
    const authorization = "Bearer not-the-token-at-all";
    expect((await readAsOperator(stack, operator, { authorization })).status).toBe(401);
  });

  test.each<[string, Record<string, string>]>([
    ["another site", { origin: "http://evil.example" }],
    ["a sibling host", { origin: "http://shop.localhost" }],
    ["another port", { origin: `http://${OPERATOR_NAME}:9` }],
    ["no port", { origin: `http://${OPERATOR_NAME}` }],
    ["another scheme", { origin: `ftp://${OPERATOR_NAME}` }],
    ["an opaque origin", { origin: "null" }],
    ["what is no origin", { origin: "not a url" }],
    ["two origins", { origin: `http://${OPERATOR_NAME}, http://evil.example` }],
    ["another port that says so by Sec-Fetch-Site only", { "sec-fetch-site": "same-site" }],
    ["another site that says so by Sec-Fetch-Site only", { "sec-fetch-site": "cross-site" }],
  ])("isn't begun, read or ended from %s", async (_name, extra) => {
    const operator = await signIn(stack);
    const answer = await postSignIn(stack, extra);
    expect(answer.status).toBe(403);
    expect(answer.headers["set-cookie"]).toBeUndefined();
    expect((await readAsOperator(stack, operator, extra)).status).toBe(403);
    expect((await postSignOut(stack, operator, extra)).status).toBe(403);
    expect((await readAsOperator(stack, operator)).status).toBe(200);
  });

  test("isn't begun or ended without an Origin, nor by GET", async () => {
    const operator = await signIn(stack);
    const bare = { "content-type": "application/x-www-form-urlencoded" };
    const answer = await stack.request(operatorAuthority(stack), "/_signalbox/sign-in", {
      method: "POST",
      headers: bare,
      body: `token=${CONTROL_TOKEN}`,
    });
    expect(answer.status).toBe(403);
    const carried = { cookie: operator.cookie, "x-signalbox-key": operator.key };
    const signedOut = await stack.request(operatorAuthority(stack), "/_signalbox/sign-out", {
      method: "POST",
      headers: carried,
    });
    expect(signedOut.status).toBe(403);
    const read = await get(operatorAuthority(stack), "/_signalbox/sign-out", carried);
    expect(read.status).toBe(405);
    expect(header(read, "allow")).toBe("POST");
    expect((await readAsOperator(stack, operator)).status).toBe(200);
  });
});

describe("the operator's cookie", () => {
  test("goes on to no app, whatever stands around it", async () => {
    const { cookie } = await signIn(stack);
    const [name = "", value = ""] = cookie.split("=");
    for (const [sent, arrives] of [
      [cookie, undefined],
      [`a=1; ${cookie}; b=2`, "a=1; b=2"],
      [`${cookie}; a=1`, "a=1"],
      [`a=1;${cookie}`, "a=1"],
      [`__Host-signalbox-sign-in=${value}; a=1`, "a=1"],
      [`__hOsT-${name}=${value}; signalbox-sign-in=1; a=1`, "a=1"],
      [`a=1, ${cookie}`, "a=1"],
      [`signalbox-sign-in; a=1`, "a=1"],
      [`my-signalbox-sign-in=1; signalbox-sign-ins=2`, `my-signalbox-sign-in=1; signalbox-sign-ins=2`],
    ] as const) {
      backend.seen.length = 0;
      await get("shop.test", "/x", { cookie: sent });
      expect(backend.seen[0]?.headers.cookie).toBe(arrives);
      await get("shop.test", "/x", { ...HANDSHAKE, cookie: sent });
      expect(backend.seen[1]?.headers.cookie).toBe(arrives);
    }
  });

  test("is set by no app", async () => {
    const name = `signalbox-sign-in-${stack.port}`;
    backend.handler = (_request, response) => {
      response.setHeader("set-cookie", [
        "a=1; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT",
        `${name}=evil; Path=/_signalbox`,
        `=${name}=evil`,
        "signalbox-sign-in=evil; Domain=localhost",
        "  __host-signalbox-sign-in = evil; Path=/",
        "signalbox-sign-ins=2",
        "b=2",
      ]);
      response.end();
      return true;
    };
    expect(headers(await get("shop.test", "/x"), "set-cookie")).toEqual([
      "a=1; Path=/; Expires=Wed, 01 Jan 2031 00:00:00 GMT",
      "signalbox-sign-ins=2",
      "b=2",
    ]);
    backend.handler = () => false;
  });
});

describe("over HTTPS at a proxy of the operator's", () => {
  test("the cookie is Secure and __Host-", async () => {
    const answer = await postSignIn(stack, { origin: `https://${operatorAuthority(stack)}` });
    const [set] = [answer.headers["set-cookie"] ?? []].flat();
    expect(set).toMatch(
      new RegExp(
        `^__Host-signalbox-sign-in-${stack.port}=[^;]+; Max-Age=43200; Path=/; HttpOnly; SameSite=Strict; Secure$`,
      ),
    );
    expect((await readAsOperator(stack, signInOf(answer))).status).toBe(200);
  });
});

describe("OPERATOR_HOST", () => {
  test.each([
    "Signalbox.localhost",
    "signalbox.localhost.",
    "http://signalbox.localhost",
    "signalbox.localhost/",
    "signalbox.localhost:",
    "signalbox.localhost:443",
    "signalbox.localhost:80",
    "signalbox.localhost:99999",
    "user@signalbox.localhost",
    "two hosts",
    "",
  ])("can't be %j, and every answer says so", async (value) => {
    await stack.restart({ OPERATOR_HOST: value });
    const answer = await get("shop.test", "/");
    expect(answer.status).toBe(500);
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      code: "config_invalid",
      detail: expect.stringContaining("OPERATOR_HOST must be a host name in lower case") as string,
    });
    await stack.restart();
  });

  test("with a port is that port's alone", async () => {
    await stack.restart({ OPERATOR_HOST: `${OPERATOR_NAME}:9` });
    expect((await get(`${OPERATOR_NAME}:9`, "/_signalbox/")).status).toBe(200);
    const answer = await get(operatorAuthority(stack), "/_signalbox/");
    expect(answer.status).toBe(404);
    expect(answer.body.toString()).toContain(`http://${OPERATOR_NAME}:9/_signalbox/`);
    backend.seen.length = 0;
    await get(operatorAuthority(stack), "/x");
    expect(backend.seen).toEqual([]);
    await stack.restart();
  });

  test("beats apps that had its host before, by list and by name", async () => {
    for (const hosts of [["signalbox.localhost"], []]) {
      // Only a new app's name is looked at, and only hosts that somebody sets.
      await stack.restart({ OPERATOR_HOST: "elsewhere.test" });
      expect((await stack.api("PUT", "/apps/signalbox", { hosts })).status).toBeLessThan(300);
      const target = { kind: "url", url: backend.url };
      await stack.api("POST", "/apps/signalbox/deployments", { id: "v1", target });
      await stack.control.until("signalbox", "v1", ["active"], 60_000);
      expect(header(await get(OPERATOR_NAME, "/x"), "x-backend")).toBe("v1");

      await stack.restart();
      const before = backend.seen.length;
      expect((await get(OPERATOR_NAME, "/x")).status).toBe(404);
      expect((await get(OPERATOR_NAME, "/x", { "x-pulse-deployment": "v1" })).status).toBe(404);
      expect((await get(OPERATOR_NAME, "/_signalbox/")).status).toBe(200);
      expect(backend.seen.length).toBe(before);
    }
  });

  test("over Cloudflare takes no token in the clear", async () => {
    await stack.restart({ OPERATOR_HOST: "op.example", TRUST_CLIENT_ADDRESS: "1" });
    const page = await get("op.example", "/_signalbox/");
    expect(page.status).toBe(308);
    expect(header(page, "location")).toBe("https://op.example/_signalbox/");
    expect((await postSignIn(stack, {}, CONTROL_TOKEN, "op.example")).status).toBe(401);
    await stack.restart();
  });
});

describe("without OPERATOR_HOST", () => {
  let open: TestStack;

  beforeAll(async () => {
    open = await startTestStack();
    await open.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
  });

  afterAll(() => open.stop());

  function page(host: string): Promise<RawAnswer> {
    return rawRequest(open.port, rawGet(host, "/_signalbox/"));
  }

  test("the dashboard is where no app answers, and says so", async () => {
    const free = await page("free.test");
    expect(free.status).toBe(200);
    expect(free.body.toString()).toContain("OPERATOR_HOST is not set");
    for (const host of [
      "shop.test",
      "shop.localhost",
      "nobody.localhost",
      "v1--shop.localhost",
      "SHOP.test.",
    ]) {
      const answer = await page(host);
      expect(answer.status).toBe(404);
      expect(JSON.parse(answer.body.toString())).toMatchObject({
        code: "not_operator_host",
        detail: expect.stringContaining("Set OPERATOR_HOST") as string,
      });
    }
  });

  test("it leaves a host that an app takes, with the sign-in", async () => {
    const operator = await signIn(open, "free.test");
    expect((await readAsOperator(open, operator, {}, "free.test")).status).toBe(200);
    await open.api("PUT", "/apps/shop", { hosts: ["shop.test", "free.test"] });
    expect((await readAsOperator(open, operator, {}, "free.test")).status).toBe(404);
    expect((await page("free.test")).status).toBe(404);
    expect((await page("other.test")).status).toBe(200);
    await open.api("PUT", "/apps/shop", { hosts: ["shop.test"], default: true });
    expect((await page("other.test")).status).toBe(404);
    await until(
      () => page("127.0.0.1"),
      ({ status }) => status === 404,
    );
  });
});
