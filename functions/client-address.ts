import type { Config } from "./config.ts";

/** The address of the caller, where somebody trustworthy says it; null where nobody does. */
export function clientAddress(request: Request, config: Pick<Config, "trustClientAddress">): string | null {
  return config.trustClientAddress ? request.headers.get("cf-connecting-ip") : "127.0.0.1";
}

/** What counts as one visitor: an address, and of IPv6 the /64 that one household or machine has all of. */
export function visitorOf(address: string): string {
  if (!address.includes(":")) return address;
  const [groups = ""] = address.split("::");
  return `${groups.split(":").slice(0, 4).join(":")}::/64`;
}
