import type { z } from "zod";
import type { AppDocument } from "../apps/app-document.ts";
import { applyCommand, type Operation } from "../apps/commit.ts";
import type { Command } from "../apps/command.ts";
import { Problem } from "../errors.ts";
import { IDEMPOTENCY_TTL_SECONDS } from "../protocol/limits.ts";
import type { OperationRecord } from "../state/store.ts";
import { kick, type ControlContext } from "./context.ts";

export const OPERATOR = "operator";

/** How a mutation answers: the same way when it is repeated under its Idempotency-Key. */
export interface Answer<T> {
  schema: z.ZodType<T>;
  view: (next: AppDocument) => T;
}

/** An Idempotency-Key as the store knows it; null when the client sent none. */
export type Idempotency = { key: string; fingerprint: string } | null;

const KEY_PATTERN = /^[\x21-\x7e]{1,200}$/;

/** Reads the key of a request and fingerprints what it stands for: method, path and body. */
export async function idempotencyOf(request: Request, body: string): Promise<Idempotency> {
  const key = request.headers.get("idempotency-key");
  if (key === null) return null;
  if (!KEY_PATTERN.test(key)) {
    const message = "must have 1 to 200 printable ASCII characters and no spaces";
    throw new Problem("invalid_request", `Idempotency-Key ${message}.`, {
      errors: [{ field: "header.idempotency-key", message }],
    });
  }
  const { pathname, search } = new URL(request.url);
  const text = new TextEncoder().encode(`${request.method} ${pathname}${search}\n${body}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  return { key, fingerprint: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
}

/** The recorded answer if this key has been used before. Throws when it was used for another request. */
export async function recall<T>(
  context: ControlContext,
  idempotency: Idempotency,
  answer: Answer<T>,
): Promise<T | null> {
  if (idempotency === null) return null;
  const record = await context.store.readOperation(idempotency.key);
  return record === null ? null : replay(record, idempotency, answer);
}

export function replay<T>(
  record: OperationRecord,
  idempotency: Idempotency,
  answer: Pick<Answer<T>, "schema">,
): T {
  if (record.fingerprint !== idempotency?.fingerprint) {
    throw new Problem(
      "idempotency_key_reused",
      "This Idempotency-Key was used for another request within the last day. Use a new one.",
      { errors: [{ field: "header.idempotency-key", message: "was used for another request" }] },
    );
  }
  return answer.schema.parse(JSON.parse(record.result));
}

export function operationOf<T>(idempotency: Idempotency, answer: Answer<T>): Operation | null {
  if (idempotency === null) return null;
  return (next) => ({
    ...idempotency,
    result: JSON.stringify(answer.view(next)),
    ttlSeconds: IDEMPOTENCY_TTL_SECONDS,
  });
}

/** Carries out an operator's command on an app: once, audited, and with the controller told of it. */
export async function mutate<T>(
  context: ControlContext,
  idempotency: Idempotency,
  app: string,
  command: Command,
  action: string,
  answer: Answer<T>,
): Promise<T> {
  const earlier = await recall(context, idempotency, answer);
  if (earlier !== null) return earlier;
  const author = { actor: OPERATOR, action };
  try {
    const result = await applyCommand(context.store, app, command, author, {
      now: context.now,
      operation: operationOf(idempotency, answer),
    });
    switch (result.kind) {
      case "applied":
        return answer.view(result.app);
      case "gone":
        throw unknownApp(app);
      case "refused": {
        // Its first attempt may have been committed between the look above and now.
        const meanwhile = await recall(context, idempotency, answer);
        if (meanwhile !== null) return meanwhile;
        throw new Problem(result.refusal.code, result.refusal.message);
      }
      case "repeated":
        return replay(result, idempotency, answer);
    }
  } finally {
    // Even after a failure: an answer that got lost may stand for a commit that didn't.
    kick(context, app);
  }
}

export function unknownApp(app: string): Problem {
  return new Problem(
    "unknown_app",
    `There is no app ${app}. Create it with PUT /_signalbox/api/v1/apps/${app}.`,
    {
      errors: [{ field: "path.app", message: "names no app" }],
    },
  );
}

export function unknownDeployment(app: string, id: string): Problem {
  return new Problem("unknown_deployment", `App ${app} has no deployment ${id}.`, {
    errors: [{ field: "path.id", message: "names no deployment of this app" }],
  });
}
