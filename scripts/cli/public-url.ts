import type { AppView } from "../client/control-types.ts";
import { isLoopback } from "./settings.ts";

/** Where people open an app; null: no host leads to it. */
export function publicUrl(app: AppView, server: string): string | null {
  const { port } = new URL(server);
  const [host] = app.hosts;
  if (isLoopback(server)) {
    if (app.default) return `${server}/`;
    // The local stack serves every app under its name.
    if (host === undefined || !host.endsWith("localhost")) return `http://${app.name}.localhost:${port}/`;
    return `http://${host}:${port}/`;
  }
  if (host !== undefined) return `https://${host}/`;
  return app.default ? `${server}/` : null;
}
