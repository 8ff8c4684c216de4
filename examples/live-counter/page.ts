import type { Signalbox } from "@signalbox/sdk";

export interface PageStyle {
  color: string;
  greeting: string;
}

export interface Page extends PageStyle {
  signalbox: Signalbox;
  sessionId: string;
}

const CSS_COLOR = /^(#[0-9a-fA-F]{3,8}|[a-z]+)$/;

/** @throws {Error} when `ACCENT_COLOR` is no plain CSS colour. */
export function pageStyle(env: Readonly<Record<string, string | undefined>>): PageStyle {
  const color = env["ACCENT_COLOR"] ?? "#4f7cff";
  if (!CSS_COLOR.test(color))
    throw new Error(`ACCENT_COLOR ${JSON.stringify(color)} is no colour name or #hex value`);
  return { color, greeting: env["GREETING"] ?? "Every page stays on the version it was loaded from." };
}

export function renderPage({ signalbox, sessionId, color, greeting }: Page): string {
  const version = signalbox.deploymentId ?? "dev";
  const pin = signalbox.deploymentId === null ? "" : `&pulse_deployment=${signalbox.deploymentId}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Live counter ${version}</title>
<link rel="icon" href="data:,">
${signalbox.scriptTag}
<style>
  :root { color-scheme: light dark; --accent: ${color}; --ink: light-dark(#1b1d23, #eceef4);
    --soft: light-dark(#666b78, #9aa1b2); --card: light-dark(#fff, #1c1f27); --line: light-dark(#e3e6ec, #2d313c); }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; color: var(--ink);
    font: 16px/1.5 system-ui, sans-serif; background: light-dark(#f4f5f8, #12141a); }
  main { width: min(26rem, 100%); background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
    box-shadow: inset 0 .4rem var(--accent); padding: 1.8rem 1.5rem 1.5rem; }
  header { display: flex; justify-content: space-between; align-items: center; gap: 1rem; }
  #version { font: 600 .85rem ui-monospace, monospace; padding: .2rem .6rem; border-radius: 1rem;
    border: 1px solid var(--accent); }
  #status { color: var(--soft); font-size: .85rem; }
  #status::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .45em;
    border-radius: 50%; background: var(--soft); }
  #status[data-state="live"]::before { background: #2fa85a; }
  #count { display: block; margin: 1.2rem 0 .2rem; font-size: 4.5rem; line-height: 1; font-weight: 700;
    font-variant-numeric: tabular-nums; }
  p { margin: 0 0 1.2rem; color: var(--soft); }
  label { font-size: .85rem; color: var(--soft); }
  textarea { display: block; width: 100%; min-height: 5rem; margin-top: .3rem; padding: .6rem .7rem; color: var(--ink);
    font: inherit; background: transparent; border: 1px solid var(--line); border-radius: .6rem; resize: vertical; }
  textarea:focus-visible, button:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
  #update { display: flex; justify-content: space-between; align-items: center; gap: 1rem; margin-top: 1rem;
    padding: .6rem .8rem; border-radius: .6rem; border: 1px solid var(--accent); font-size: .9rem; }
  #update[hidden] { display: none; }
  button { font: inherit; font-weight: 600; padding: .3rem .8rem; border-radius: .5rem; cursor: pointer;
    color: var(--card); background: var(--ink); border: 0; }
</style>
</head>
<body>
<main>
  <header><span id="version">${version}</span><span id="status" role="status">connecting</span></header>
  <output id="count">0</output>
  <p>${escapeHtml(greeting)}</p>
  <label>Notes<textarea id="notes" placeholder="A reload waits while you type here."></textarea></label>
  <div id="update" role="status" hidden>A new version is ready.<button id="now" type="button">Reload now</button></div>
</main>
<script>
const at = (id) => document.getElementById(id);
const notes = at("notes");

function connect() {
  const socket = new WebSocket("/live?session=${sessionId}${pin}");
  const show = (state) => { at("status").dataset.state = state; at("status").textContent = state; };
  socket.onopen = () => show("live");
  socket.onmessage = (event) => { at("count").textContent = event.data; };
  socket.onclose = (event) => {
    show("reconnecting");
    if (event.code !== 4409) setTimeout(connect, 300 + Math.random() * 700);
  };
}
connect();

// The notes outlive the reload, which waits until the visitor stops typing.
const IDLE_MS = 2000;
let typedAt = -Infinity;
notes.value = sessionStorage.getItem("notes") ?? "";
notes.addEventListener("input", () => {
  typedAt = performance.now();
  sessionStorage.setItem("notes", notes.value);
});
at("now").addEventListener("click", () => signalbox.reload());
signalbox.onReload(async () => {
  at("update").hidden = false;
  for (let idle; (idle = performance.now() - typedAt) < IDLE_MS; ) {
    await new Promise((done) => setTimeout(done, IDLE_MS - idle));
  }
});
</script>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
