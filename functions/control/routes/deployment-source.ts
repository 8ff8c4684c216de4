import { createRoute, z } from "@hono/zod-openapi";
import { deploymentPath } from "../schemas.ts";
import { json, operator, problems } from "./parts.ts";

export const sentSource = z
  .object({ deploymentId: z.string().openapi({ description: "Railway's id of what it builds" }) })
  .openapi("DeploymentSource");

export const put = createRoute({
  security: operator,
  tags: ["deployments"],
  method: "put",
  path: "/apps/{app}/deployments/{id}/source",
  summary: "Uploads the source of a new deployment with an upload target; safe to repeat",
  request: {
    params: deploymentPath,
    body: {
      required: true,
      content: { "application/gzip": { schema: z.string().openapi({ format: "binary" }) } },
    },
  },
  responses: { 200: json(sentSource), ...problems },
});
