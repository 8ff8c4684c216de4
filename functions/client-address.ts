import type { Config } from "./config.ts";

/** The address of the caller, where somebody trustworthy says it; null where nobody does. */
export function clientAddress(request: Request, config: Pick<Config, "trustClientAddress">): string | null {
  return config.trustClientAddress ? request.headers.get("cf-connecting-ip") : "127.0.0.1";
}
