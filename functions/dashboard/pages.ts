import { html } from "hono/html";
import { SCRIPT, STYLE } from "./assets.generated.ts";

type Html = ReturnType<typeof html>;

export interface Frame {
  /** For everybody who comes here. */
  notice: string;
  /** `NAME.<appDomain>` is app NAME. */
  appDomain: string | null;
  /** Why the sign-in failed. */
  error?: string;
  head?: Html;
}

/** The same for everybody: the script shows the form, or the dashboard to who is signed in. */
export async function framePage({ notice, appDomain, error = "", head = html`` }: Frame): Promise<string> {
  const page = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        ${head}
        <title>Signalbox</title>
        <link rel="stylesheet" href="${STYLE}" />
        <link rel="icon" href="data:," />
        <script type="module" src="${SCRIPT}"></script>
      </head>
      <body>
        ${notice === "" ? "" : html`<p class="notice">${notice}</p>`}
        <main class="sign-in" ${error === "" ? "hidden" : ""}>
          <h1>Signalbox</h1>
          <form method="post" action="/_signalbox/sign-in">
            <input name="username" value="operator" autocomplete="username" hidden />
            <label for="token">Control token</label>
            <input id="token" name="token" type="password" autocomplete="current-password" required />
            <button class="main">Sign in</button>
            ${error === "" ? "" : html`<p class="bad" role="alert">${error}</p>`}
          </form>
          <p class="quiet">
            On the local stack it is <code>controlToken</code> in <code>.signalbox/local.json</code>.
          </p>
        </main>
        <div id="dashboard" data-app-domain="${appDomain ?? ""}"></div>
        <noscript><p>The dashboard needs JavaScript: it keeps half of the secret of a sign-in.</p></noscript>
      </body>
    </html>`;
  return page.toString();
}

/** Hands the key of the new sign-in to the script, which goes on to the dashboard. */
export function startedPage(key: string): Promise<string> {
  const head = html`<meta name="signalbox-sign-in-key" content="${key}" />`;
  return framePage({ notice: "", appDomain: null, head });
}
