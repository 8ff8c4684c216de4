/** Which of Railway's own installations the Railway CLI would talk to. */
export interface RailwayHost {
  environment: "production" | "staging" | "dev";
  /** Base address of its API, without a slash at the end. */
  url: string;
}

const domains = { production: "railway.com", staging: "railway-staging.com", dev: "railway-develop.com" };

/** RAILWAY_API_URL names the address; without it RAILWAY_ENV chooses it, as for the Railway CLI. */
export function railwayHost(env: Record<string, string | undefined>): RailwayHost {
  const named = (env["RAILWAY_ENV"] ?? "").toLowerCase();
  const environment =
    named === "staging" ? "staging" : named === "dev" || named === "develop" ? "dev" : "production";
  const url = env["RAILWAY_API_URL"] ?? `https://backboard.${domains[environment]}`;
  return { environment, url: url.replace(/\/+$/, "") };
}
