import { openBrowser } from "../browser.ts";
import { command, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";
import { publicUrl } from "../public-url.ts";
import type { CommandContext } from "../context.ts";

export const open = command({
  name: "open",
  summary: "prints an app's address and opens it in a browser",
  flags: {
    ...ofApp,
    dashboard: { type: "boolean", summary: "the dashboard instead" },
    print: { type: "boolean", summary: "only print it" },
  },
  async run(context, { flags }) {
    const url = flags.dashboard ? await dashboard(context) : await appUrl(context);
    context.output.result({ url }, () => url);
    if (!flags.print) await openBrowser(context, url);
  },
});

/** The server itself says where its dashboard is, if that is another host. */
async function dashboard(context: CommandContext): Promise<string> {
  const { signal } = context;
  const here = `${(await context.connection()).server.value}/_signalbox/`;
  const headers = { accept: "application/problem+json" };
  const answer = await fetch(here, { headers, signal, redirect: "manual" }).catch(() => null);
  await answer?.body?.cancel();
  const elsewhere = /^<(https?:\/\/[^>\s]+)>; rel="alternate"$/.exec(answer?.headers.get("link") ?? "")?.[1];
  return elsewhere ?? here;
}

async function appUrl(context: CommandContext): Promise<string> {
  const app = await context.app();
  const control = await context.control();
  const url = publicUrl(await control.app(app), control.origin);
  if (url !== null) return url;
  throw new Failure(
    "notFound",
    "no_host",
    `No host leads to ${app}. Name some: \`hosts\` in signalbox.json, or deploy --host.`,
  );
}
