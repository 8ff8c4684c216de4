import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { startTestStack, until, type ApiAnswer, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let backend: Backend;

beforeAll(async () => {
  stack = await startTestStack();
  backend = await startBackend("v1");
  await stack.api("PUT", "/apps/shop", { hosts: ["shop.test"] });
  await stack.api("POST", "/apps/shop/deployments", { id: "v1", target: { kind: "url", url: backend.url } });
  await stack.control.until("shop", "v1", ["active"], 60_000);
});

afterAll(async () => {
  await stack.stop();
  await backend.close();
});

const problem = z.object({
  type: z.string().startsWith("urn:signalbox:"),
  title: z.string().min(1),
  status: z.number(),
  code: z.string().regex(/^[a-z_]+$/),
  detail: z.string().min(1),
  errors: z.array(z.object({ field: z.string(), message: z.string().min(1) })).optional(),
});

/** Everything that a refused call could have changed. */
async function state(): Promise<unknown> {
  const apps = await stack.api("GET", "/apps");
  const audit = await stack.api("GET", "/audit");
  return [apps.body, audit.body];
}

function expectProblem(answer: ApiAnswer, status: number, code: string, field?: string): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(answer.headers.get("cache-control")).toBe("no-store");
  const parsed = problem.parse(answer.body);
  expect(parsed).toMatchObject({ status, code });
  if (field !== undefined) expect(parsed.errors?.map((error) => error.field)).toContain(field);
}

describe("bad input", () => {
  const operations = z.object({
    paths: z.record(z.string(), z.record(z.string(), z.object({ requestBody: z.unknown().optional() }))),
    components: z.object({ schemas: z.record(z.string(), z.unknown()) }),
  });
  type Schema = {
    type?: string | string[] | undefined;
    properties?: Record<string, Schema> | undefined;
    required?: string[] | undefined;
    enum?: unknown[] | undefined;
    maxLength?: number | undefined;
    pattern?: string | undefined;
    minimum?: number | undefined;
    maximum?: number | undefined;
    oneOf?: Schema[] | undefined;
    additionalProperties?: unknown;
    $ref?: string | undefined;
  };
  const schema: z.ZodType<Schema> = z.lazy(() =>
    z.object({
      type: z.union([z.string(), z.array(z.string())]).optional(),
      properties: z.record(z.string(), schema).optional(),
      required: z.array(z.string()).optional(),
      enum: z.array(z.unknown()).optional(),
      maxLength: z.number().optional(),
      pattern: z.string().optional(),
      minimum: z.number().optional(),
      maximum: z.number().optional(),
      oneOf: z.array(schema).optional(),
      additionalProperties: z.unknown().optional(),
      $ref: z.string().optional(),
    }),
  );
  const bodyOf = z.object({ content: z.object({ "application/json": z.object({ schema }) }) });

  /** Bodies that a schema doesn't allow, each with the field that the answer must name. */
  function wrongBodies(wanted: Schema): { body: unknown; field: string }[] {
    const found: { body: unknown; field: string }[] = [{ body: { zzUnknown: 1 }, field: "zzUnknown" }];
    for (const body of [[], "text", 5, null, true]) found.push({ body, field: "body" });
    for (const name of wanted.required ?? []) found.push({ body: {}, field: name });
    for (const [name, property] of Object.entries(wanted.properties ?? {})) {
      for (const value of wrongValues(property)) found.push({ body: { [name]: value }, field: name });
    }
    return found;
  }

  function wrongValues(wanted: Schema): unknown[] {
    const takesAnyField = typeof wanted.additionalProperties === "object";
    const values: unknown[] = takesAnyField ? [[[]]] : [[[]], { zz: {} }];
    const types = [wanted.type ?? []].flat();
    if (!types.includes("string")) values.push("text");
    if (!types.includes("boolean")) values.push(true);
    if (!types.includes("null")) values.push(null);
    if (!types.includes("number") && !types.includes("integer")) values.push(7);
    if (types.includes("string") && (wanted.pattern !== undefined || wanted.enum))
      values.push("", "\u0000 UPPER/../");
    if (wanted.maxLength !== undefined) values.push("x".repeat(wanted.maxLength + 1));
    if (wanted.minimum !== undefined) values.push(wanted.minimum - 1, -1e300);
    if (wanted.maximum !== undefined) values.push(wanted.maximum + 1, 1e300);
    if (types.includes("integer")) values.push(1.5);
    return values;
  }

  test("in any body of any call of the OpenAPI document names the field and changes nothing", async () => {
    const response = await fetch(`${stack.origin}/_signalbox/api/v1/openapi.json`);
    const document = operations.parse(await response.json());
    const cases: { method: string; path: string; body: unknown; field: string }[] = [];
    for (const [template, methods] of Object.entries(document.paths)) {
      const path = template
        .replace("/builds/{id}", "/builds/shop.abcdef")
        .replace("{app}", "shop")
        .replace("{slug}", "shop")
        .replace("{request}", "q1")
        .replace("{id}", "v1");
      for (const [method, operation] of Object.entries(methods)) {
        const body = bodyOf.safeParse(operation.requestBody);
        if (!body.success) continue;
        const { schema: given } = body.data.content["application/json"];
        const name = given.$ref?.split("/").at(-1);
        const wanted = name === undefined ? given : schema.parse(document.components.schemas[name]);
        for (const wrong of wrongBodies(wanted)) cases.push({ method: method.toUpperCase(), path, ...wrong });
      }
    }
    expect(cases.length).toBeGreaterThan(100);
    const before = await state();
    for (const { method, path, body, field } of cases) {
      const answer = await stack.api(method, path, JSON.stringify(body), {
        "content-type": "application/json",
      });
      const said = `${method} ${path} ${JSON.stringify(body)} -> ${answer.status} ${JSON.stringify(answer.body)}`;
      expect(answer.status, said).toBe(400);
      const { errors = [] } = problem.parse(answer.body);
      expect(
        errors.some((error) => error.field === field || error.field.startsWith(`${field}.`)),
        said,
      ).toBe(true);
    }
    expect(await state()).toEqual(before);
  });

  test("of arbitrary JSON is answered with a problem or obeyed, never with a fault", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("canary", "minimum", "deployments"),
        fc.oneof(
          fc.jsonValue(),
          fc.record({ id: fc.jsonValue(), weight: fc.jsonValue(), target: fc.jsonValue() }),
        ),
        async (call, body) => {
          const method = call === "deployments" ? "POST" : "PUT";
          const answer = await stack.api(method, `/apps/shop/${call}`, JSON.stringify(body), {
            "content-type": "application/json",
          });
          expect(answer.status).toBeLessThan(500);
          if (answer.status >= 400) problem.parse(answer.body);
        },
      ),
      { numRuns: 200 },
    );
  });

  const malformed: [string, string, unknown, Record<string, string>, number, string, string?][] = [
    ["a malformed app name", "/apps/Shop!", {}, {}, 400, "invalid_request", "path.app"],
    ["a name that is too long", `/apps/${"a".repeat(64)}`, {}, {}, 400, "invalid_request", "path.app"],
    [
      "a body that isn't JSON",
      "/apps/shop",
      "{nope",
      { "content-type": "application/json" },
      400,
      "invalid_json",
      "body",
    ],
    [
      "a body that isn't UTF-8 JSON by name",
      "/apps/shop",
      "a=b",
      { "content-type": "text/plain" },
      415,
      "unsupported_media_type",
      "header.content-type",
    ],
    [
      "a body of 1 MiB",
      "/apps/shop",
      JSON.stringify({ hosts: ["x".repeat(1 << 20)] }),
      {},
      413,
      "body_too_large",
      "body",
    ],
    [
      "an Idempotency-Key with spaces",
      "/apps/shop",
      {},
      { "idempotency-key": "a b" },
      400,
      "invalid_request",
      "header.idempotency-key",
    ],
  ];
  test.each(malformed)("%s is refused", async (_name, path, body, headers, status, code, field) => {
    const before = await state();
    expectProblem(await stack.api("PUT", path, body, headers), status, code, field);
    expect(await state()).toEqual(before);
  });

  test("a chunked body without a length is cut off at the limit", async () => {
    const chunk = new TextEncoder().encode(" ".repeat(16_384));
    let sent = 0;
    const body = new ReadableStream({
      pull(controller) {
        sent += 1;
        if (sent > 64) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const response = await fetch(`${stack.origin}/_signalbox/api/v1/apps/shop`, {
      method: "PUT",
      headers: { authorization: `Bearer control-token-for-tests`, "content-type": "application/json" },
      body,
      duplex: "half",
    });
    expect(response.status).toBe(413);
  });

  const unknown: [string, string, string, string, string][] = [
    ["an unknown app", "GET", "/apps/nope", "unknown_app", "path.app"],
    ["an unknown app's deployments", "GET", "/apps/nope/deployments", "unknown_app", "path.app"],
    ["an unknown deployment", "GET", "/apps/shop/deployments/nope", "unknown_deployment", "path.id"],
    [
      "an unknown deployment's events",
      "GET",
      "/apps/shop/deployments/nope/events",
      "unknown_deployment",
      "path.id",
    ],
  ];
  test.each(unknown)("%s is 404", async (_name, method, path, code, field) => {
    expectProblem(await stack.api(method, path), 404, code, field);
  });

  test("an unknown deployment can't be promoted, deleted, redeployed, made canary or minimum", async () => {
    const at = "/apps/shop/deployments/nope";
    expectProblem(await stack.api("POST", `${at}/promote`), 404, "unknown_deployment");
    expectProblem(await stack.api("POST", `${at}/redeploy`), 404, "unknown_deployment");
    expectProblem(await stack.api("DELETE", at), 404, "unknown_deployment");
    expectProblem(
      await stack.api("PUT", "/apps/shop/canary", { id: "nope", weight: 1 }),
      404,
      "unknown_deployment",
    );
    expectProblem(await stack.api("PUT", "/apps/shop/minimum", { id: "nope" }), 404, "unknown_deployment");
  });

  const targets = [
    "nonsense",
    "ftp://x.example",
    "https://user:secret@x.example",
    "https://x.example/path",
    "https://x.example/?q",
    "http://shop.test",
  ];
  test.each(targets)("the target %s is refused", async (url) => {
    const answer = await stack.api("POST", "/apps/shop/deployments", {
      id: "bad",
      target: { kind: "url", url },
    });
    expectProblem(answer, 422, "target_refused", "target.url");
    expect(JSON.stringify(answer.body)).not.toContain("secret");
  });
});

describe("the control token", () => {
  test("is checked before anything else of a call", async () => {
    for (const authorization of [
      "",
      "Bearer wrong",
      "Basic Og==",
      "Bearer control-token-for-tests2",
      "bearer",
    ]) {
      const answer = await stack.api("PUT", "/apps/Shop!", "{nope", { authorization });
      expectProblem(answer, 401, "unauthorized");
      expect(answer.headers.get("www-authenticate")).toContain("Bearer");
    }
  });

  test("isn't needed for the OpenAPI document", async () => {
    const response = await fetch(`${stack.origin}/_signalbox/api/v1/openapi.json`);
    expect(await response.json()).toMatchObject({ openapi: "3.1.0" });
  });
});

describe("a change", () => {
  test("that is repeated under its Idempotency-Key happens once and answers the same", async () => {
    const body = { target: { kind: "url", url: backend.url }, promote: false };
    const headers = { "idempotency-key": crypto.randomUUID() };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => stack.api("POST", "/apps/shop/deployments", body, headers)),
    );
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202));
    const ids = new Set(answers.map((answer) => answer.body["id"]));
    expect(ids.size).toBe(1);
    const later = await stack.api("POST", "/apps/shop/deployments", body, headers);
    expect(later.body).toEqual(answers[0]?.body);
    const other = await stack.api("POST", "/apps/shop/deployments", { ...body, promote: true }, headers);
    expectProblem(other, 422, "idempotency_key_reused", "header.idempotency-key");
  });

  test("is in the audit log, from version to version without a gap", async () => {
    await stack.api("PUT", "/apps/audited", {});
    await stack.api("POST", "/apps/audited/pause", { mode: "refuse" });
    await stack.api("POST", "/apps/audited/resume");
    const { body } = await stack.api("GET", "/audit?app=audited");
    expect(body["entries"]).toMatchObject([
      { actor: "operator", action: "app.resume", fromVersion: 2, toVersion: 3 },
      { actor: "operator", action: "app.pause", fromVersion: 1, toVersion: 2, details: { mode: "refuse" } },
      { actor: "operator", action: "app.create", fromVersion: null, toVersion: 1 },
    ]);
  });
});

describe("an app", () => {
  test("is created once, replaced whole after that, and its hosts are its own", async () => {
    const created = await stack.api("PUT", "/apps/one", { hosts: ["one.test"], drainTtlSeconds: 9 });
    expect(created).toMatchObject({ status: 201, body: { name: "one", version: 1, drainTtlSeconds: 9 } });
    const replaced = await stack.api("PUT", "/apps/one", { hosts: ["one.test", "uno.test"] });
    expect(replaced).toMatchObject({ status: 200, body: { version: 2, drainTtlSeconds: 86_400 } });
    const taken = await stack.api("PUT", "/apps/two", { hosts: ["uno.test"] });
    expectProblem(taken, 409, "host_taken", "hosts");
    await stack.api("PUT", "/apps/one", { hosts: ["one.test"] });
    expect((await stack.api("PUT", "/apps/two", { hosts: ["uno.test"] })).status).toBe(201);
  });

  test("that becomes the default replaces the former one in one step", async () => {
    await stack.api("PUT", "/apps/first", { default: true });
    await stack.api("PUT", "/apps/second", { default: true });
    expect((await stack.api("GET", "/apps/first")).body["default"]).toBe(false);
    expect((await stack.api("GET", "/apps/second")).body["default"]).toBe(true);
    await stack.api("PUT", "/apps/second", { default: false });
    expect((await stack.request("nobody.test", "/")).status).toBe(404);
  });

  test("that is deleted retires its deployments, then is gone with its hosts", async () => {
    const own = await startBackend("v1");
    await stack.api("PUT", "/apps/brief", { hosts: ["brief.test"], reloadGraceSeconds: 0 });
    await stack.api("POST", "/apps/brief/deployments", { id: "v1", target: { kind: "url", url: own.url } });
    await stack.control.until("brief", "v1", ["active"], 60_000);
    const deleted = await stack.api("DELETE", "/apps/brief");
    expect(deleted).toMatchObject({ status: 202, body: { deleting: true, active: null } });
    await until(
      () => stack.api("GET", "/apps/brief"),
      ({ status }) => status === 404,
    );
    expect(own.reloads).toBe(1);
    expect((await stack.api("PUT", "/apps/heir", { hosts: ["brief.test"] })).status).toBe(201);
    const [last] = z
      .object({ entries: z.array(z.object({ fromVersion: z.number() })) })
      .parse((await stack.api("GET", "/audit?app=brief&limit=1")).body).entries;
    const again = await stack.api("PUT", "/apps/brief", {});
    // Above every version that the one before it had, its deletion's included.
    expect(again).toMatchObject({ status: 201, body: { version: (last?.fromVersion ?? 0) + 2 } });
    expect((await stack.api("PUT", "/apps/brief", {})).status).toBe(200);
    await own.close();
  });
});

describe("a deployment", () => {
  test("without an id gets one from its name and the time", async () => {
    const answer = await stack.api("POST", "/apps/shop/deployments", {
      name: "a-name-that-is-long",
      target: { kind: "url", url: backend.url },
      promote: false,
    });
    expect(answer.body["id"]).toMatch(/^a-name-tha-\d{6}-\d{6}$/);
  });

  test("may have an id that every object has as a property", async () => {
    const at = "/apps/shop/deployments/constructor";
    expectProblem(await stack.api("GET", at), 404, "unknown_deployment");
    expectProblem(await stack.api("POST", `${at}/promote`), 404, "unknown_deployment");
    expectProblem(await stack.api("DELETE", at), 404, "unknown_deployment");
    const body = { id: "constructor", target: { kind: "url", url: backend.url }, promote: false };
    expect((await stack.api("POST", "/apps/shop/deployments", body)).status).toBe(202);
    expect((await stack.api("GET", at)).body["id"]).toBe("constructor");
  });

  test("that is active can't be deleted", async () => {
    expectProblem(await stack.api("DELETE", "/apps/shop/deployments/v1"), 409, "active_deployment");
  });

  test("that never answers as itself fails with the reason, and the active one stays", async () => {
    const wrong = await startBackend("somebody-else");
    await stack.api("PUT", "/apps/strict", { verifyTimeoutSeconds: 1 });
    await stack.api("POST", "/apps/strict/deployments", {
      id: "v9",
      target: { kind: "url", url: wrong.url },
    });
    const failed = await until(
      () => stack.api("GET", "/apps/strict/deployments/v9"),
      ({ body }) => body["state"] === "failed",
    );
    expect(failed.body["failure"]).toMatchObject({ code: "verification_failed" });
    expect(JSON.stringify(failed.body)).toContain("somebody-else");
    expect((await stack.api("GET", "/apps/strict")).body["active"]).toBeNull();
    await wrong.close();
  });

  test("can be redeployed in place without leaving its state", async () => {
    const answer = await stack.api("POST", "/apps/shop/deployments/v1/redeploy");
    expect(answer).toMatchObject({ status: 202, body: { state: "active", redeploying: true } });
    await until(
      () => stack.api("GET", "/apps/shop/deployments/v1"),
      ({ body }) => body["redeploying"] === false,
    );
    expect((await stack.api("GET", "/apps/shop")).body["active"]).toBe("v1");
  });
});
