import { failureOf } from "../failure.ts";
import type { CommandContext } from "../context.ts";

/** One thing that was looked at. `note`: worth knowing, nothing wrong. */
export interface Check {
  name: string;
  state: "ok" | "note" | "wrong";
  detail: string;
  /** How to fix it. */
  remedy?: string;
}

/** Looks at one part of the settings; later checks may rest on earlier ones, so it ends where going on is useless. */
export type Checks = (context: CommandContext) => AsyncGenerator<Check>;

export function ok(name: string, detail: string): Check {
  return { name, state: "ok", detail };
}

export function note(name: string, detail: string, remedy?: string): Check {
  return { name, state: "note", detail, ...(remedy === undefined ? {} : { remedy }) };
}

export function wrong(name: string, detail: string, remedy: string): Check {
  return { name, state: "wrong", detail, remedy };
}

/** The message of what a look ended with; throws what is a mistake in this program. */
export function whyNot(error: unknown): string {
  const failure = failureOf(error);
  if (failure === null) throw error;
  return failure.message;
}
