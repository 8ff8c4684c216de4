import type { ControlContext } from "./context.ts";
import type { Idempotency } from "./mutation.ts";
import { mutateRecorded, type RecordedMutation } from "./recorded-mutation.ts";

export interface RunnerMutation<T, R> extends Omit<RecordedMutation<T, R>, "subject"> {
  runnerId: string;
}

/** Carries out a change of a runner, recorded under its id. */
export function mutateRunner<T, R>(
  context: ControlContext,
  idempotency: Idempotency,
  { runnerId, details, ...mutation }: RunnerMutation<T, R>,
): Promise<T> {
  return mutateRecorded(context, idempotency, {
    ...mutation,
    subject: `runner ${runnerId}`,
    details: (answer) => ({ runner: runnerId, ...details?.(answer) }),
  });
}
