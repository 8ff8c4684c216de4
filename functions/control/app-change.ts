import { z } from "zod";
import { parseAppDocument, type AppDocument } from "../apps/app-document.ts";
import type { AppCommand } from "../apps/command.ts";
import { applyCommand, type IdempotencyRecordOf } from "../apps/commit.ts";
import { Problem } from "../errors.ts";
import { IDEMPOTENCY_TTL_SECONDS } from "../protocol/limits.ts";
import type { IdempotencyRecord } from "../state/store.ts";
import { kick, type ControlContext } from "./context.ts";
import { replay, type Idempotency } from "./idempotency.ts";

/** The audit log's name for whoever has the control token. */
export const OPERATOR = "operator";

/** How a change of an app answers. Repeated under its Idempotency-Key it answers the same. */
export interface ChangeView<T> {
  schema: z.ZodType<T>;
  view: (next: AppDocument) => T;
  /** A larger answer isn't kept: a repetition has the view of the app as it is by then. */
  keptBytes?: number;
}

/** Kept in place of an answer that is too large. */
const readAgain = z.strictObject({ readAgain: z.strictObject({ app: z.string(), version: z.number() }) });

/** Carries out an operator's command on an app: once, audited, and its controller hears of it. */
export async function changeApp<T>(
  context: ControlContext,
  idempotency: Idempotency,
  app: string,
  command: AppCommand,
  action: string,
  answer: ChangeView<T>,
): Promise<T> {
  const earlier = await earlierAnswer(context, idempotency, answer);
  if (earlier !== null) return earlier;
  const author = { actor: OPERATOR, action };
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
        // Its first attempt may have been committed between the look above and now.
        const meanwhile = await earlierAnswer(context, idempotency, answer);
        if (meanwhile !== null) return meanwhile;
        throw new Problem(result.refusal.code, result.refusal.message);
      }
      case "repeated":
        return await answerAgain(context, result, idempotency, answer);
    }
  } finally {
    // Even after a failure: an answer that got lost may stand for a commit that didn't.
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
