import { z } from "@hono/zod-openapi";
import { deleteToken, listTokens, newToken, readToken, writeToken } from "../access/tokens.ts";
import { Problem } from "../errors.ts";
import { ACCESS_TOKENS_LIMIT } from "../protocol/access.ts";
import { actThenRecord } from "./act-then-record.ts";
import { controlRouter } from "./openapi.ts";
import { create, list, revoke } from "./routes/tokens.ts";
import { tokenView, viewToken } from "./token-schemas.ts";

export const tokens = controlRouter()
  .openapi(list, async (c) => {
    const records = await listTokens(c.env.control.store);
    return c.json({ tokens: records.map(viewToken) }, 200);
  })
  .openapi(create, async (c) => {
    const { store, now, caller } = c.env.control;
    const { name, scopes, expiresInSeconds } = c.req.valid("json");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      action: "token.create",
      act: async () => {
        const others = await listTokens(store);
        if (others.some((other) => other.name === name))
          throw new Problem(
            "token_exists",
            `There is a token ${name}. Revoke it first, or choose another name.`,
            {
              errors: [{ field: "name", message: "is in use" }],
            },
          );
        if (others.length >= ACCESS_TOKENS_LIMIT)
          throw new Problem("too_many_tokens", `There are ${ACCESS_TOKENS_LIMIT} tokens. Revoke some first.`);
        const expiresAt = now() + expiresInSeconds * 1_000;
        const { record, token } = await newToken({ name, scopes, by: caller.actor, expiresAt }, now());
        await writeToken(store, record);
        return { ...viewToken(record), token };
      },
      details: ({ id }) => ({ token: id, name, scopes: scopes.join(" ") }),
      remember: { schema: z.object({ id: z.string() }), of: ({ id }) => ({ id }) },
      repeated: ({ id }) => {
        throw new Problem(
          "secret_shown_once",
          `This Idempotency-Key was used to create token ${id}. It was shown then and is stored nowhere; revoke it ` +
            "and create another one.",
          { errors: [{ field: "header.idempotency-key", message: "was used to create a token" }] },
        );
      },
    });
    return c.json(answer, 201);
  })
  .openapi(revoke, async (c) => {
    const { store } = c.env.control;
    const { id } = c.req.valid("param");
    const answer = await actThenRecord(c.env.control, c.var.idempotency, {
      action: "token.revoke",
      act: async () => {
        const record = await readToken(store, id);
        if (record === null || !(await deleteToken(store, id)))
          throw new Problem("unknown_token", `There is no token ${id}.`, {
            errors: [{ field: "path.id", message: "names no token" }],
          });
        return viewToken(record);
      },
      details: ({ name }) => ({ token: id, name }),
      remember: { schema: tokenView, of: (view: z.infer<typeof tokenView>) => view },
      repeated: (view: z.infer<typeof tokenView>) => view,
    });
    return c.json(answer, 200);
  });
