import { z } from "zod";
import type { SharedTables } from "./table.ts";

const cached = z.object({
  readAt: z.number(),
  stored: z
    .object({ name: z.string(), version: z.number(), body: z.string(), isDefault: z.boolean() })
    .nullable(),
});

/** The Cache API can't keep anything for less. */
const SHORTEST_TTL_MS = 1_000;

/**
 * Tables shared through the Cache API of a location. It exists on custom domains and does nothing elsewhere, so
 * nothing may depend on it: whatever fails here is a table that wasn't shared.
 */
export function sharedTables(ttlMs: number): SharedTables | null {
  if (ttlMs < SHORTEST_TTL_MS || typeof caches === "undefined") return null;
  const urlOf = (key: string): string => `https://signalbox-tables.invalid/v1/${encodeURIComponent(key)}`;
  return {
    async match(key) {
      try {
        const response = await caches.default.match(urlOf(key));
        return response ? cached.parse(await response.json()) : null;
      } catch {
        return null; // not shared; the store is asked instead
      }
    },
    async put(key, value) {
      try {
        const headers = { "cache-control": `max-age=${Math.ceil(ttlMs / 1_000)}` };
        await caches.default.put(urlOf(key), new Response(JSON.stringify(value), { headers }));
      } catch {
        // not shared; each isolate reads for itself
      }
    },
  };
}
