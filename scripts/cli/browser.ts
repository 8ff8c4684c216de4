import { spawn } from "node:child_process";
import { once } from "node:events";
import type { CommandContext } from "./context.ts";

/** Opens an address where somebody sits at a screen. A browser that isn't there is no failure. */
export async function openBrowser({ output, interactive, env }: CommandContext, url: string): Promise<void> {
  const opener = output.json || !interactive ? null : openerOf(env);
  if (opener === null) return;
  const [program, ...words] = opener;
  const child = spawn(program, [...words, url], { stdio: "ignore", detached: true });
  child.unref();
  await Promise.race([once(child, "spawn"), once(child, "error")]).catch(() => undefined);
}

function openerOf(env: Record<string, string | undefined>): [string, ...string[]] | null {
  const browser = env["BROWSER"];
  if (browser !== undefined && browser !== "") return [browser];
  if (process.platform === "darwin") return ["open"];
  if (process.platform === "win32") return ["cmd", "/c", "start", ""];
  return env["DISPLAY"] || env["WAYLAND_DISPLAY"] ? ["xdg-open"] : null;
}
