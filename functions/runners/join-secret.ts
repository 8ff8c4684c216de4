import { sameSecret } from "../auth.ts";

/**
 * What a runner joins WebSockets with, for as long as its connection lasts. Any isolate can check it without the store or
 * the hub, so that made-up ones wake no hubs.
 */
export interface JoinLogin {
  runnerId: string;
  /** Of the connection. */
  epoch: number;
}

const encoder = new TextEncoder();

export async function joinSecret(controlToken: string, { runnerId, epoch }: JoinLogin): Promise<string> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(controlToken), algorithm, false, ["sign"]);
  const text = encoder.encode(`signalbox join ${runnerId} ${epoch}`);
  const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, text));
  return `${epoch}.${[...signature].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** The connection that a secret is of; null when it is of none of this runner. */
export async function readJoinSecret(
  controlToken: string,
  runnerId: string,
  given: string | null,
): Promise<JoinLogin | null> {
  const epoch = /^(\d{1,15})\.[0-9a-f]{64}$/.exec(given ?? "")?.[1];
  if (given === null || epoch === undefined) return null;
  const login = { runnerId, epoch: Number(epoch) };
  return (await sameSecret(given, await joinSecret(controlToken, login))) ? login : null;
}
