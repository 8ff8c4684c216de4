import { chmod, open, readFile, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { Failure } from "../failure.ts";
import { railwayHost } from "./host.ts";

/**
 * The session that `railway login` left behind, as the Railway CLI 5 keeps it: `user.accessToken` with
 * `user.refreshToken` and `user.tokenExpiresAt` (seconds), or, from older versions, `user.token`, which doesn't expire.
 */
const loginFile = z.looseObject({
  user: z
    .looseObject({
      token: z.string().nullish(),
      accessToken: z.string().nullish(),
      refreshToken: z.string().nullish(),
      tokenExpiresAt: z.number().nullish(),
    })
    .nullish(),
});
type LoginFile = z.infer<typeof loginFile>;

const answer = z.object({
  access_token: z.string().min(1),
  refresh_token: z.string().min(1).nullish(),
  expires_in: z.number().positive(),
});
const refusal = z.object({ error: z.string() });

/** The Railway CLI's own public client: its refresh tokens are good for no other. */
const OAUTH_CLIENT_ID = "rlwy_oaci_onEklvmksh1hRUiCo7E2zX12";
/** A token this near to its end is renewed first, as the Railway CLI does it. */
const EXPIRY_MARGIN_SECONDS = 60;
const REFRESH_ATTEMPTS = 3;
const REFRESH_TIMEOUT_MS = 30_000;
const FIRST_BACKOFF_MS = 500;

export interface RailwayLogin {
  token: string;
  /** Where it came from, for messages. */
  file: string;
}

/** Where the Railway CLI keeps its login, chosen by RAILWAY_ENV as it does. */
export function loginPath(env: Record<string, string | undefined>): string {
  const suffix = { production: "", staging: "-staging", dev: "-dev" }[railwayHost(env).environment];
  return join(env["HOME"] ?? homedir(), ".railway", `config${suffix}.json`);
}

/** The Railway CLI's login, renewed where it has expired; null when nobody has logged in. */
export async function railwayLogin(env: Record<string, string | undefined>): Promise<RailwayLogin | null> {
  const file = loginPath(env);
  const saved = await read(file);
  const user = saved?.user;
  if (user == null) return null;
  if (filled(user.accessToken) && !expired(user)) return { token: user.accessToken, file };
  if (filled(user.accessToken) || filled(user.refreshToken)) {
    if (filled(user.refreshToken)) return { token: await renew(file, user.refreshToken, env), file };
    throw expiredLogin(file);
  }
  return filled(user.token) ? { token: user.token, file } : null;
}

async function renew(
  file: string,
  refreshToken: string,
  env: Record<string, string | undefined>,
): Promise<string> {
  const renewed = await refresh(refreshToken, env);
  if (renewed !== null) {
    await write(file, renewed);
    return renewed.access_token;
  }
  // A refresh token is good once: another process may have used it a moment ago and saved its successor.
  const user = (await read(file))?.user;
  if (filled(user?.accessToken) && user.refreshToken !== refreshToken && !expired(user))
    return user.accessToken;
  throw expiredLogin(file);
}

/** New tokens; null when the refresh token is refused for good. */
async function refresh(
  refreshToken: string,
  env: Record<string, string | undefined>,
): Promise<z.infer<typeof answer> | null> {
  const url = `${railwayHost(env).url}/oauth/token`;
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: env["RAILWAY_OAUTH_CLIENT_ID"] ?? OAUTH_CLIENT_ID,
  });
  let last = "";
  for (let attempt = 0; attempt < REFRESH_ATTEMPTS; attempt++) {
    if (attempt > 0) await new Promise((resolve) => setTimeout(resolve, FIRST_BACKOFF_MS * 2 ** attempt));
    try {
      const response = await fetch(url, {
        method: "POST",
        body,
        redirect: "error",
        signal: AbortSignal.timeout(REFRESH_TIMEOUT_MS),
      });
      const parsed: unknown = await response.json().catch(() => null);
      if (response.ok) {
        const tokens = answer.safeParse(parsed);
        if (tokens.success) return tokens.data;
        last = "it answered something else than tokens";
      } else if (refusal.safeParse(parsed).data?.error === "invalid_grant") return null;
      else last = `it answered ${response.status}`;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
  }
  throw new Failure(
    "unreachable",
    "railway_unreachable",
    `The Railway login couldn't be renewed at ${url}: ${last}. Try again, or set RAILWAY_API_TOKEN.`,
  );
}

/** Puts new tokens in the file as it is now, so that what another process wrote beside them stays. */
async function write(file: string, tokens: z.infer<typeof answer>): Promise<void> {
  const saved = (await read(file)) ?? {};
  const { token: _replaced, ...user } = saved.user ?? {};
  const next: LoginFile = {
    ...saved,
    user: {
      ...user,
      accessToken: tokens.access_token,
      refreshToken: tokens.refresh_token ?? user.refreshToken,
      tokenExpiresAt: Math.floor(Date.now() / 1000 + tokens.expires_in),
    },
  };
  const temporary = `${file}.tmp.${process.pid}`;
  try {
    const handle = await open(temporary, "w", 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(next, null, 2)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await chmod(temporary, 0o600);
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    const reason = error instanceof Error ? error.message : String(error);
    throw new Failure(
      "failed",
      "login_not_saved",
      `The renewed Railway login couldn't be saved in ${file}: ${reason}. Run \`railway login\` once it can be.`,
    );
  }
}

async function read(file: string): Promise<LoginFile | null> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  try {
    return loginFile.parse(JSON.parse(text));
  } catch {
    // What stands in the file may be half a token: its content is never repeated.
    throw new Failure(
      "unauthorized",
      "login_unreadable",
      `The Railway CLI's login in ${file} can't be read. Run \`railway login\` again, or set RAILWAY_API_TOKEN.`,
    );
  }
}

const filled = (value: string | null | undefined): value is string => value != null && value !== "";

function expired(user: { tokenExpiresAt?: number | null | undefined }): boolean {
  return user.tokenExpiresAt != null && Date.now() / 1000 >= user.tokenExpiresAt - EXPIRY_MARGIN_SECONDS;
}

function expiredLogin(file: string): Failure {
  return new Failure(
    "unauthorized",
    "login_expired",
    `The Railway login in ${file} has expired and can't be renewed. Run \`railway login\`, or set RAILWAY_API_TOKEN.`,
  );
}
