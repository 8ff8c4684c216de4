import { spawn } from "node:child_process";

/** Opens an address where somebody sits at a screen; false: there is no program for it. */
export function openAddress(address: string): boolean {
  const opener = openerOf(process.env);
  if (opener === null) return false;
  const [program, ...words] = opener;
  const child = spawn(program, [...words, address], { stdio: "ignore", detached: true });
  child.on("error", () => undefined); // the notice has the address
  child.unref();
  return true;
}

function openerOf(env: NodeJS.ProcessEnv): [string, ...string[]] | null {
  const browser = env["BROWSER"];
  if (browser !== undefined && browser !== "") return [browser];
  if (process.platform === "darwin") return ["open"];
  if (process.platform === "win32") return ["cmd", "/c", "start", ""];
  return env["DISPLAY"] || env["WAYLAND_DISPLAY"] ? ["xdg-open"] : null;
}
