import { clientAddress } from "../edge/serve.ts";
import { requireBearer } from "../auth.ts";
import { Problem } from "../errors.ts";
import { CONTROL_BODY_LIMIT_BYTES } from "../protocol/limits.ts";
import { apps } from "./apps.ts";
import type { ControlContext } from "./context.ts";
import { deployments } from "./deployments.ts";
import { controlRouter } from "./openapi.ts";
import { operations } from "./operations.ts";
import { traffic } from "./traffic.ts";

export const CONTROL_PREFIX = "/_signalbox/api/v1";

/** How much of a body that is too large is read and thrown away before its sender is cut off. */
const DISCARD_LIMIT_BYTES = 4 * 1024 * 1024;

const description = {
  openapi: "3.1.0",
  info: { title: "Signalbox control API", version: "1" },
  servers: [{ url: CONTROL_PREFIX }],
};

const router = controlRouter();
router.openAPIRegistry.registerComponent("securitySchemes", "controlToken", {
  type: "http",
  scheme: "bearer",
});
const api = router.route("/", apps).route("/", deployments).route("/", traffic).route("/", operations);
api.notFound((c) => {
  throw new Problem("not_found", `The control API has no ${c.req.method} ${new URL(c.req.url).pathname}.`);
});
api.onError((error) => {
  throw error;
});

/** What the typed clients are made from. */
export type ControlApi = typeof api;

/** One call of the control API: token, size and shape are checked before anything else happens. */
export async function serveControl(request: Request, context: ControlContext): Promise<Response> {
  const url = new URL(request.url);
  const path = url.pathname.slice(CONTROL_PREFIX.length);
  if (path === "/openapi.json" && request.method === "GET") return Response.json(openApiDocument());
  await requireBearer(
    request,
    context.config.controlToken,
    clientAddress(request, context.config) ?? "",
    "Send the control token: `Authorization: Bearer CONTROL_TOKEN`.",
  );
  url.pathname = path === "" ? "/" : path;
  const headers = new Headers(request.headers);
  const init: RequestInit = { method: request.method, headers };
  if (request.method === "POST" || request.method === "PUT") {
    init.body = await readBody(request);
    headers.set("content-type", "application/json");
  }
  return api.fetch(new Request(url, init), { control: context });
}

export function openApiDocument(): unknown {
  return api.getOpenAPI31Document(description);
}

/** The body as JSON text of bounded size, `{}` where there is none; so far nothing has been looked up. */
async function readBody(request: Request): Promise<string> {
  const tooLarge = new Problem(
    "body_too_large",
    `The body is larger than ${CONTROL_BODY_LIMIT_BYTES} bytes.`,
    {
      errors: [{ field: "body", message: `must be at most ${CONTROL_BODY_LIMIT_BYTES} bytes` }],
    },
  );
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size <= CONTROL_BODY_LIMIT_BYTES) chunks.push(chunk);
    // Read on for a while: an answer to a client that is still writing may never be seen.
    else if (size > DISCARD_LIMIT_BYTES) throw tooLarge;
  }
  if (size > CONTROL_BODY_LIMIT_BYTES) throw tooLarge;
  if (size === 0) return "{}";
  const type = request.headers.get("content-type") ?? "";
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new Problem("unsupported_media_type", "Send JSON: `Content-Type: application/json`.", {
      errors: [{ field: "header.content-type", message: "must be application/json" }],
    });
  }
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(
      await new Blob(chunks).arrayBuffer(),
    );
    JSON.parse(text);
    return text;
  } catch {
    throw new Problem("invalid_json", "The body isn't valid JSON.", {
      errors: [{ field: "body", message: "isn't valid JSON" }],
    });
  }
}
