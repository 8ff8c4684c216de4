import { z } from "zod";

export const tokenRecord = z.object({
  schema: z.literal(1),
  id: z.string(),
  name: z.string(),
  scopes: z.array(z.string()),
  /** Of the whole token, which is stored nowhere. */
  sha256: z.string(),
  /** Who made it, as the audit log names them. */
  by: z.string(),
  createdAt: z.number(),
  expiresAt: z.number(),
  lastUsedAt: z.number().nullable(),
});

export type TokenRecord = z.infer<typeof tokenRecord>;
