import { html } from "hono/html";
import type { AppDocument, Deployment } from "../apps/app-document.ts";
import type { Report } from "../janitor/report.ts";

type Html = ReturnType<typeof html>;

/** The same for everybody: what is shown in it comes later, to who is signed in. */
export function framePage(notice: string, error = "", head: Html = html``): Promise<string> {
  return layout(
    "Signalbox",
    html`<header>
        <h1>Signalbox</h1>
        <p id="trouble" class="bad" role="status" hidden></p>
        <nav id="bar" hidden><button id="sign-out">Sign out</button></nav>
      </header>
      ${notice === "" ? "" : html`<p class="notice">${notice}</p>`}
      <main class="sign-in" ${error === "" ? "hidden" : ""}>
        <form method="post" action="/_signalbox/sign-in">
          <input name="username" value="operator" autocomplete="username" hidden />
          <label for="token">Control token</label>
          <input id="token" name="token" type="password" autocomplete="current-password" required />
          <button>Sign in</button>
          ${error === "" ? "" : html`<p class="bad" role="alert">${error}</p>`}
        </form>
        <p class="quiet">
          On the local stack it is <code>controlToken</code> in <code>.signalbox/local.json</code>.
        </p>
      </main>
      <div id="overview"></div>
      <noscript><p>The dashboard needs JavaScript: it keeps half of the secret of a sign-in.</p></noscript>`,
    html`${head}
      <script src="/_signalbox/dashboard.js" defer></script>`,
  );
}

/** Hands the key of the new sign-in to the script, which goes on to the dashboard. */
export function startedPage(key: string): Promise<string> {
  return framePage("", "", html`<meta name="signalbox-sign-in-key" content="${key}" />`);
}

export async function overview(
  apps: { document: AppDocument; isDefault: boolean }[],
  appDomain: string | null,
  janitor: { report: Report | null; stale: boolean },
  now: number,
): Promise<string> {
  const ago = janitor.report ? age(now - Date.parse(janitor.report.finishedAt)) : null;
  const page = await html`<p id="janitor" class="${janitor.stale ? "bad" : "quiet"}">
      ${ago === null ? "The janitor has not run yet." : html`Janitor: ${ago} ago.`}
      ${janitor.stale && ago !== null ? "That is too long: check the cron trigger." : ""}
    </p>
    ${
      apps.length === 0
        ? html`<p>No app yet. Create one with <code>PUT /_signalbox/api/v1/apps/NAME</code>.</p>`
        : apps.map((app) => appSection(app.document, hostsOf(app, appDomain), now))
    }`;
  return page.toString();
}

/** Every name that leads to an app, for people. */
function hostsOf(
  { document, isDefault }: { document: AppDocument; isDefault: boolean },
  appDomain: string | null,
): string {
  const hosts = [
    ...document.config.hosts,
    ...(appDomain === null ? [] : [`${document.name}.${appDomain}`]),
    ...(isDefault ? ["default: any host that no app has"] : []),
  ];
  return hosts.length === 0 ? "no host leads here" : [...new Set(hosts)].join(", ");
}

function appSection(app: AppDocument, hosts: string, now: number): Html {
  const deployments = Object.values(app.deployments).sort((one, other) => other.sequence - one.sequence);
  return html`<section>
    <h2>${app.name} <small class="quiet">${hosts}</small></h2>
    ${app.paused ? html`<p class="bad">Paused (${app.paused.mode}): ${app.paused.message}</p>` : ""}
    ${app.canary ? html`<p>Canary: ${app.canary.id} takes ${app.canary.weight} % of new visitors.</p>` : ""}
    ${app.minimum ? html`<p>Minimum version: ${app.minimum.id}.</p>` : ""}
    ${
      deployments.length === 0
        ? html`<p class="quiet">Nothing deployed yet.</p>`
        : html`<table>
            <thead>
              <tr>
                <th>Deployment</th>
                <th>State</th>
                <th>For</th>
                <th>Target</th>
                <th>What next</th>
              </tr>
            </thead>
            <tbody>
              ${deployments.map((deployment) => row(app, deployment, now))}
            </tbody>
          </table>`
    }
  </section>`;
}

function row(app: AppDocument, deployment: Deployment, now: number): Html {
  return html`<tr>
    <td><strong>${deployment.id}</strong></td>
    <td><span class="state ${deployment.state}">${deployment.state}</span></td>
    <td title="${new Date(deployment.stateSince).toISOString()}">${age(now - deployment.stateSince)}</td>
    <td>${where(deployment)}</td>
    <td>${next(app, deployment, now)}</td>
  </tr>`;
}

function where({ target }: Deployment): string {
  switch (target.kind) {
    case "url":
      return target.url;
    case "runner":
      return `runner ${target.runnerId ?? "(not placed)"}`;
    case "railway":
      return `Railway: ${target.image ?? target.repo?.repo ?? "an uploaded source"}`;
  }
}

function next(app: AppDocument, deployment: Deployment, now: number): string {
  if (deployment.failure) return deployment.failure.reason;
  if (deployment.retirement?.unroutedAt != null) return "unrouted, about to be removed";
  if (deployment.retirement) return "browsers were told to reload";
  if (deployment.redeploy) return "being redeployed";
  if (deployment.state === "draining" && deployment.drainDeadline !== null) {
    const left = Math.max(0, deployment.drainDeadline - now);
    const kept = app.previous?.id === deployment.id ? "; rollback returns here" : "";
    return `drains for ${age(left)} at most${kept}`;
  }
  if (app.canary?.id === deployment.id) return "canary";
  return "";
}

function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

async function layout(title: string, body: Html, head: Html): Promise<string> {
  const page = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        ${head}
        <title>${title}</title>
        <link rel="stylesheet" href="/_signalbox/style.css" />
        <link rel="icon" href="data:," />
      </head>
      <body>
        ${body}
      </body>
    </html>`;
  return page.toString();
}

export const stylesheet = `
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem; }
header { display: flex; gap: 1.5rem; align-items: baseline; flex-wrap: wrap; }
header nav { margin-left: auto; }
[hidden] { display: none !important; }
.notice { border: 1px solid var(--line); padding: .6rem .8rem; }
h1 { font-size: 1.3rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-top: 1px solid var(--line); }
th { font-weight: 500; opacity: .7; }
.quiet { opacity: .65; font-weight: 400; }
.bad { color: light-dark(#b3261e, #ff8a80); }
.state { padding: .05rem .55rem; border-radius: 1rem; border: 1px solid var(--line); font-size: .9em; }
.active { background: light-dark(#d7f5dd, #174d27); }
.pending, .ready { background: light-dark(#e3ecff, #1b3566); }
.draining { background: light-dark(#fff1cf, #574100); }
.failed { background: light-dark(#ffdeda, #6b1d16); }
.removed { opacity: .6; }
.sign-in { max-width: 22rem; margin: 15vh auto; }
form { display: grid; gap: .6rem; margin: 1rem 0; }
input, button { font: inherit; padding: .5rem .7rem; }
`;
