import { z } from "zod";
import { parseAppDocument, type AppDocument } from "../apps/app-document.ts";
import type { AppCommand } from "../apps/command.ts";
import { applyCommand, type IdempotencyRecordOf } from "../apps/commit.ts";
import { Problem } from "../errors.ts";
import { IDEMPOTENCY_TTL_SECONDS } from "../protocol/limits.ts";
import type { IdempotencyRecord } from "../state/store.ts";
import { kick, type ControlContext } from "./context.ts";
import { replay, type Idempotency } from "./idempotency.ts";

/** How a change of an app answers. Repeated under its Idempotency-Key it answers the same. */
export interface ChangeView<T> {
  schema: z.ZodType<T>;
  view: (next: AppDocument) => T;
  /** A larger answer isn't kept: a repetition answers with the app as it is then. */
  keptBytes?: number;
}

/** Kept in place of an answer that is too large. */
const readAgain = z.strictObject({ readAgain: z.strictObject({ app: z.string(), version: z.number() }) });

/**
 * There are two ways to change something, and the subject decides. An app is its document: `commitChange` writes command,
 * audit entry and idempotency record in one commit, so that all of it happened or nothing. Everything else (a runner, an
 * upload, a run of the janitor) happens outside the store: `actThenRecord` does it first and records it afterwards.
 *
 * This one carries out an operator's command on an app, and wakes the app's controller.
 */
export async function commitChange<T>(
  context: ControlContext,
  idempotency: Idempotency,
  app: string,
  command: AppCommand,
  action: string,
  answer: ChangeView<T>,
): Promise<T> {
  const earlier = await earlierAnswer(context, idempotency, answer);
  if (earlier !== null) return earlier;
  const author = { actor: context.caller.actor, action };
  try {
    const result = await applyCommand(context.store, app, command, author, {
      now: context.now,
      idempotencyRecord: idempotencyRecordOf(idempotency, answer),
    });
    switch (result.kind) {
      case "applied":
        return answer.view(result.app);
      case "gone":
        throw unknownApp(app);
      case "refused": {
        // The first attempt may have been committed since the read above.
        const meanwhile = await earlierAnswer(context, idempotency, answer);
        if (meanwhile !== null) return meanwhile;
        throw new Problem(result.refusal.code, result.refusal.message);
      }
      case "repeated":
        return await answerAgain(context, result, idempotency, answer);
    }
  } finally {
    // Even after a failure: the commit may have happened although its answer was lost.
    kick(context, app);
  }
}

/** The answer if this key has been used before. Throws when it was used for another request. */
export async function earlierAnswer<T>(
  context: ControlContext,
  idempotency: Idempotency,
  answer: ChangeView<T>,
): Promise<T | null> {
  if (idempotency === null) return null;
  const record = await context.store.readIdempotencyRecord(idempotency.key);
  return record === null ? null : answerAgain(context, record, idempotency, answer);
}

export async function answerAgain<T>(
  { store }: ControlContext,
  record: IdempotencyRecord,
  idempotency: Idempotency,
  { schema, view }: ChangeView<T>,
): Promise<T> {
  const kept: unknown = replay(record, idempotency, z.unknown());
  const { success, data } = readAgain.safeParse(kept);
  if (!success) return schema.parse(kept);
  const stored = await store.readApp(data.readAgain.app);
  if (stored === null) throw unknownApp(data.readAgain.app);
  return view(parseAppDocument(stored.body));
}

/** What a commit keeps for a repetition. */
export function idempotencyRecordOf<T>(
  idempotency: Idempotency,
  { view, keptBytes }: ChangeView<T>,
): IdempotencyRecordOf | null {
  if (idempotency === null) return null;
  return (next) => {
    const whole = JSON.stringify(view(next));
    const isTooLarge = keptBytes !== undefined && new TextEncoder().encode(whole).length > keptBytes;
    const reference: z.infer<typeof readAgain> = { readAgain: { app: next.name, version: next.version } };
    const result = isTooLarge ? JSON.stringify(reference) : whole;
    return { ...idempotency, result, ttlSeconds: IDEMPOTENCY_TTL_SECONDS };
  };
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
