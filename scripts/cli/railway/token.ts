import { RailwayClient, type RailwayToken } from "../../../functions/railway/client.ts";
import { RailwayError } from "../../../functions/railway/error.ts";
import { projectToken } from "../../../functions/railway/operations.ts";
import { Failure } from "../failure.ts";
import { railwayHost } from "./host.ts";
import { loginPath, railwayLogin } from "./login.ts";

/** A token and where it was found. Of one given by `--token` nobody knows the kind before Railway was asked. */
export interface FoundToken {
  value: string;
  kind: RailwayToken["kind"] | "unknown";
  from: "--token" | "RAILWAY_TOKEN" | "RAILWAY_API_TOKEN" | "the Railway CLI's login";
}

/** What Railway calls something, and what people do. */
export interface Named {
  id: string;
  name: string;
}

/** One environment of one project. */
export interface RailwayPlace {
  project: Named;
  environment: Named;
}

/** Railway as one token sees it. */
export interface RailwayAccess {
  client: RailwayClient;
  from: FoundToken["from"];
  /** What a project token is for; null: an account's or a workspace's token. */
  scope: RailwayPlace | null;
}

/** How long an operator waits for Railway's rate limit rather than begin anew. */
const PATIENCE_MS = 30_000;

/** The first of `--token`, RAILWAY_TOKEN, RAILWAY_API_TOKEN and the Railway CLI's login; the order is pulse-railway's. */
export async function findToken(
  flag: string | undefined,
  env: Record<string, string | undefined>,
): Promise<FoundToken> {
  if (flag !== undefined && flag.trim() !== "")
    return { value: flag.trim(), kind: "unknown", from: "--token" };
  if (flag !== undefined)
    throw new Failure("usage", "wrong_usage", "--token is empty. Give Railway's token, or leave it out.");
  const project = env["RAILWAY_TOKEN"]?.trim() ?? "";
  if (project !== "") return { value: project, kind: "project", from: "RAILWAY_TOKEN" };
  const account = env["RAILWAY_API_TOKEN"]?.trim() ?? "";
  if (account !== "") return { value: account, kind: "account", from: "RAILWAY_API_TOKEN" };
  const login = await railwayLogin(env);
  if (login !== null) return { value: login.token, kind: "account", from: "the Railway CLI's login" };
  throw new Failure(
    "unauthorized",
    "no_railway_token",
    "There is no Railway token. Set RAILWAY_API_TOKEN (an account's or workspace's) or RAILWAY_TOKEN (a project's), " +
      `give --token, or run \`railway login\` (looked for in ${loginPath(env)}).`,
  );
}

/** Finds the token and its kind. Costs one call; none for an account's token. */
export async function openRailway(
  flag: string | undefined,
  env: Record<string, string | undefined>,
): Promise<RailwayAccess> {
  const token = await findToken(flag, env);
  const apiUrl = railwayHost(env).url;
  const clientOf = (kind: RailwayToken["kind"]): RailwayClient =>
    new RailwayClient({ token: { kind, value: token.value }, apiUrl, patienceMs: PATIENCE_MS });
  if (token.kind === "account") return { client: clientOf("account"), from: token.from, scope: null };
  const client = clientOf("project");
  try {
    const { projectToken: scope } = await client.call(projectToken, {});
    return { client, from: token.from, scope };
  } catch (error) {
    if (!(error instanceof RailwayError) || error.kind === "unreachable" || error.retryable) throw error;
    if (token.kind === "unknown") return { client: clientOf("account"), from: token.from, scope: null };
    throw new Failure(
      "unauthorized",
      "wrong_railway_token",
      "RAILWAY_TOKEN isn't a project token that Railway knows. An account's or a workspace's token goes in " +
        "RAILWAY_API_TOKEN; project tokens are made in the project's settings.",
    );
  }
}
