import { createRoute, z } from "@hono/zod-openapi";
import { tokenBody, tokenCreated, tokenPath, tokenView } from "../token-schemas.ts";
import { idempotent, idempotentWithoutBody, json, jsonBody, operator, problems } from "./parts.ts";

const common = { security: operator, tags: ["tokens"] };

export const list = createRoute({
  ...common,
  method: "get",
  path: "/tokens",
  summary: "Access tokens, without their secrets",
  responses: { 200: json(z.object({ tokens: z.array(tokenView) })), ...problems },
});

export const create = createRoute({
  ...common,
  ...idempotent,
  method: "post",
  path: "/tokens",
  summary:
    "Creates an access token. It is shown once: a repeat under the same Idempotency-Key is refused (409 `secret_shown_once`)",
  request: { body: jsonBody(tokenBody) },
  responses: { 201: json(tokenCreated, "Created"), ...problems },
});

export const revoke = createRoute({
  ...common,
  ...idempotentWithoutBody,
  method: "delete",
  path: "/tokens/{id}",
  summary: "Revokes an access token, at once",
  request: { params: tokenPath },
  responses: { 200: json(tokenView), ...problems },
});
