import { z } from "zod";
import { appName } from "../apps/app-document.ts";

const DEPLOY = "deploy:";

/**
 * What a token is for. `admin`: everything, tokens and credentials too. `operate`: everything but those. `read`: to look.
 * `deploy:APP`: to roll out that app.
 */
export const scope = z
  .string()
  .refine(
    (text) =>
      ["admin", "operate", "read"].includes(text) ||
      (text.startsWith(DEPLOY) && appName.safeParse(text.slice(DEPLOY.length)).success),
    "must be admin, operate, read or deploy:APP",
  );

/** Whoever may hand out access may do everything. */
const ACCESS = /^\/(?:tokens(?:\/|$)|runners\/[^/]+\/credentials$)/;

/** What a deploy asks for beside its app: a place, and somewhere to put its source. */
const DEPLOY_ANYWHERE = [/^POST \/placements$/, /^PUT \/runners\/[^/]+\/sources$/];
const DEPLOY_APP = [
  /^GET /,
  /^POST \/deployments$/,
  /^PUT \/deployments\/[^/]+\/source$/,
  /^POST \/deployments\/[^/]+\/(?:promote|redeploy)$/,
  /^POST \/rollback$/,
  /^(?:PUT|DELETE) \/canary$/,
];

/** Whether one of the scopes allows a call of the control API. `path` is as the router has it, after the API's prefix. */
export function isAllowed(scopes: readonly string[], method: string, path: string): boolean {
  return scopes.some((one) => allows(one, method, path));
}

function allows(one: string, method: string, path: string): boolean {
  if (one === "admin") return true;
  if (ACCESS.test(path)) return false;
  if (one === "operate") return true;
  if (one === "read") return method === "GET";
  if (!one.startsWith(DEPLOY)) return false;
  if (DEPLOY_ANYWHERE.some((pattern) => pattern.test(`${method} ${path}`))) return true;
  const app = `/apps/${one.slice(DEPLOY.length)}`;
  if (path !== app && !path.startsWith(`${app}/`)) return false;
  return DEPLOY_APP.some((pattern) => pattern.test(`${method} ${path.slice(app.length)}`));
}
