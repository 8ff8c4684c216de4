import {
  execute,
  GraphQLError,
  Kind,
  parse,
  validate,
  type DocumentNode,
  type OperationDefinitionNode,
} from "graphql";
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Access, notAuthorized, type Tokens } from "./access.ts";
import { keepUpload } from "./build.ts";
import type { Fault, Faults } from "./faults.ts";
import { mutations } from "./mutations.ts";
import { queries } from "./queries.ts";
import type { Railway } from "./railway.ts";
import { schema } from "./schema.ts";
import type { Instance } from "./world.ts";

const BODY_LIMIT_BYTES = 4 * 1024 * 1024;
const UPLOAD_PATH = /^\/project\/([^/]+)\/environment\/([^/]+)\/up$/;

interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

interface Asked {
  document: DocumentNode;
  operation: OperationDefinitionNode;
  variables: Record<string, unknown>;
  names: string[];
}

/** Railway's two addresses: GraphQL, and the one that takes uploads. */
export function createApi(
  railway: Railway,
  tokens: Tokens,
  faults: Faults,
  uploads: string,
  url: () => string,
): Server {
  return createServer((incoming, outgoing) => {
    answer(incoming)
      .then((result) => (result === null ? outgoing.destroy() : send(outgoing, result)))
      .catch((error: unknown) => {
        console.error("railway stand-in:", error);
        send(outgoing, { status: 500, body: { message: "Internal Server Error" } });
      });
  });

  /** Null: the answer gets lost. */
  async function answer(incoming: IncomingMessage): Promise<Answer | null> {
    const { pathname, searchParams } = new URL(incoming.url ?? "/", "http://railway");
    const upload = UPLOAD_PATH.exec(pathname);
    if (incoming.method === "POST" && upload) {
      const [, projectId = "", environmentId = ""] = upload;
      const place = { projectId, environmentId, serviceId: searchParams.get("serviceId") ?? "" };
      return takeUpload(incoming, place, faults.take(["up"]));
    }
    if (incoming.method !== "POST" || pathname !== "/graphql/v2")
      return { status: 404, body: { message: "Not Found" } };
    const text = await readBody(incoming);
    if (text === null) return { status: 413, body: { message: "Payload Too Large" } };
    const asked = understand(text);
    if (!("names" in asked)) return asked;
    const token = tokens.of(incoming.headers);
    return withFault(faults, faults.take(asked.names), () => run(asked, new Access(railway.world, token)));
  }

  async function run(asked: Asked, access: Access): Promise<Answer> {
    const isMutation = asked.operation.operation === "mutation";
    const result = await execute({
      schema,
      document: asked.document,
      rootValue: isMutation ? mutations(railway, access) : queries(railway, access),
      variableValues: asked.variables,
      operationName: asked.operation.name?.value ?? null,
    });
    const errors = result.errors?.map((error) => {
      if (error.originalError && !(error.originalError instanceof GraphQLError))
        console.error("railway stand-in:", error.originalError);
      return { ...error.toJSON(), traceId: randomUUID() };
    });
    return { status: 200, body: errors ? { errors, data: result.data ?? null } : result };
  }

  async function takeUpload(
    incoming: IncomingMessage,
    place: { projectId: string; environmentId: string; serviceId: string },
    fault: Fault | null,
  ): Promise<Answer | null> {
    const access = new Access(railway.world, tokens.of(incoming.headers));
    if (access.token === null) return { status: 401, body: { message: "Unauthorized" } };
    let instance: Instance;
    try {
      access.project(place.projectId);
      instance = access.instance(place.serviceId, place.environmentId);
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      const status = error.message === notAuthorized().message ? 403 : 404;
      return { status, body: { message: error.message } };
    }
    const file = join(uploads, `${randomUUID()}.tgz`);
    await keepUpload(incoming, file);
    return withFault(faults, fault, () => Promise.resolve(begin(instance, file, place)));
  }

  function begin(instance: Instance, file: string, place: { projectId: string; serviceId: string }): Answer {
    const deployment = railway.rollouts.start(instance, { upload: file });
    const domain = instance.domains[0]?.domain ?? "";
    const page = `${url()}/project/${place.projectId}/service/${place.serviceId}`;
    return {
      status: 200,
      body: {
        deploymentId: deployment.id,
        url: page,
        logsUrl: `${page}?id=${deployment.id}`,
        deploymentDomain: domain,
      },
    };
  }
}

async function withFault(
  faults: Faults,
  fault: Fault | null,
  work: () => Promise<Answer>,
): Promise<Answer | null> {
  switch (fault?.kind) {
    case undefined:
      return work();
    case "500":
      return { status: 500, body: { message: "Internal Server Error" } };
    case "429": {
      const after = String(fault.retryAfterSeconds ?? 1);
      return {
        status: 429,
        headers: { "retry-after": after, "x-ratelimit-remaining": "0" },
        body: { errors: [{ message: "Too Many Requests" }] },
      };
    }
    case "slow":
      await ("until" in fault ? fault.until : sleep(fault.ms));
      return work();
    case "lost":
      await work();
      return null;
    case "late":
      faults.late += 1;
      setTimeout(() => {
        work()
          .catch((error: unknown) => console.error("railway stand-in:", error))
          .finally(() => (faults.late -= 1));
      }, fault.ms);
      return null;
    case "error": {
      const message = fault.message ?? "Problem processing request";
      const extensions = { code: "INTERNAL_SERVER_ERROR" };
      return { status: 200, body: { errors: [{ message, extensions, traceId: randomUUID() }], data: null } };
    }
  }
}

/** Parses and validates a request; an answer if it isn't one. */
function understand(text: string): Asked | Answer {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return { status: 400, body: { errors: [{ message: "POST body sent invalid JSON." }] } };
  }
  if (typeof body !== "object" || body === null || !("query" in body) || typeof body.query !== "string")
    return { status: 400, body: { errors: [{ message: "GraphQL operations must contain a `query`." }] } };
  const wanted =
    "operationName" in body && typeof body.operationName === "string" ? body.operationName : null;
  const variables = "variables" in body && isRecord(body.variables) ? body.variables : {};
  let document: DocumentNode;
  try {
    document = parse(body.query);
  } catch (error) {
    return { status: 400, body: { errors: [{ message: String(error) }] } };
  }
  const errors = validate(schema, document);
  if (errors.length > 0) return { status: 400, body: { errors } };
  const operation = document.definitions.find(
    (one): one is OperationDefinitionNode =>
      one.kind === Kind.OPERATION_DEFINITION && (wanted === null || one.name?.value === wanted),
  );
  if (operation === undefined)
    return { status: 400, body: { errors: [{ message: `Unknown operation named "${wanted}".` }] } };
  const fields = operation.selectionSet.selections.flatMap((one) =>
    one.kind === Kind.FIELD ? [one.name.value] : [],
  );
  const names = [...new Set([operation.name?.value ?? [], fields].flat())];
  return { document, operation, variables, names };
}

async function readBody(incoming: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_LIMIT_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function send(outgoing: ServerResponse, { status, body, headers = {} }: Answer): void {
  outgoing.writeHead(status, { "content-type": "application/json", ...headers });
  outgoing.end(JSON.stringify(body));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
