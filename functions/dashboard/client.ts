/** What the dashboard's page runs. It keeps the key of a sign-in in the storage of its origin, and shows the overview anew. */
export const clientScript = `"use strict";
const KEY = "signalbox-sign-in-key";
const REFRESH_MS = 5000;
const form = document.querySelector("main.sign-in");
const overview = document.getElementById("overview");
const bar = document.getElementById("bar");
const trouble = document.getElementById("trouble");

function showForm() {
  bar.hidden = true;
  overview.replaceChildren();
  form.hidden = false;
  document.getElementById("token").focus();
}

function say(text) {
  trouble.textContent = text;
  trouble.hidden = text === "";
}

async function ask(path, method) {
  const headers = { "x-signalbox-key": localStorage.getItem(KEY) ?? "" };
  const answer = await fetch("/_signalbox/" + path, { method, headers, cache: "no-store" });
  if (answer.status === 401) localStorage.removeItem(KEY);
  return answer;
}

async function refresh() {
  try {
    const answer = await ask("overview", "GET");
    if (answer.status === 401) return showForm();
    const text = await answer.text();
    if (answer.ok) {
      const { body } = new DOMParser().parseFromString(text, "text/html");
      overview.replaceChildren(...body.childNodes);
      bar.hidden = false;
      say("");
    } else say("Signalbox answers " + answer.status + ". Trying again.");
  } catch {
    say("Signalbox can't be reached. Trying again.");
  }
  setTimeout(refresh, REFRESH_MS);
}

async function signOut() {
  try {
    const answer = await ask("sign-out", "POST");
    if (!answer.ok && answer.status !== 401) return say("You are still signed in: signing out failed with " + answer.status + ".");
    localStorage.removeItem(KEY);
    location.reload();
  } catch {
    say("You are still signed in: Signalbox can't be reached.");
  }
}

document.getElementById("sign-out").addEventListener("click", signOut);
const started = document.querySelector("meta[name=signalbox-sign-in-key]");
if (started !== null) {
  localStorage.setItem(KEY, started.content);
  location.replace("/_signalbox/");
} else if (localStorage.getItem(KEY) === null) showForm();
else if (form.hidden) refresh();
`;

/**
 * What a service worker that an app left on this host gets when the browser looks for its new version: it takes itself
 * away and loads its pages again.
 */
export const leavingServiceWorker = `self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(leave()));
async function leave() {
  await self.clients.claim();
  await self.registration.unregister();
  for (const client of await self.clients.matchAll({ type: "window" })) client.navigate(client.url);
}
`;
