import { z } from "zod";
import type { AuditEntry } from "./store.ts";

const auditEntry = z.object({
  at: z.number(),
  app: z.string().nullable(),
  actor: z.string(),
  action: z.string(),
  fromVersion: z.number().nullable(),
  toVersion: z.number().nullable(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
});

/** Reads back what `JSON.stringify` made of an entry; throws when it is anything else. */
export function parseAuditEntry(text: string): AuditEntry {
  return auditEntry.parse(JSON.parse(text));
}
