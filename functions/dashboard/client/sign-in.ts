/** One half of a sign-in is the cookie; the other, kept here, is read by no other port of the host. */
const KEY = "signalbox-sign-in-key";
const RETURN_TO = "signalbox-return-to";

export function signInKey(): string | null {
  return localStorage.getItem(KEY);
}

/** Takes the key that the server wrote into the page after a sign-in. True while the page goes on to the dashboard. */
export function takeKey(): boolean {
  const started = document.querySelector<HTMLMetaElement>("meta[name=signalbox-sign-in-key]");
  if (started === null) return false;
  localStorage.setItem(KEY, started.content);
  const to = sessionStorage.getItem(RETURN_TO) ?? "";
  sessionStorage.removeItem(RETURN_TO);
  location.replace(to.startsWith("/_signalbox/") ? to : "/_signalbox/");
  return true;
}

const listeners = new Set<() => void>();

export function onSignedOut(listener: () => void): void {
  listeners.add(listener);
}

/** The server no longer knows the sign-in. What was typed stays in this tab's storage. */
export function signedOut(): void {
  localStorage.removeItem(KEY);
  sessionStorage.setItem(RETURN_TO, location.pathname + location.search);
  for (const listener of listeners) listener();
}

/** Throws with a sentence that says why the sign-in goes on. */
export async function signOut(): Promise<void> {
  const answer = await fetch("/_signalbox/sign-out", {
    method: "POST",
    headers: { "x-signalbox-key": signInKey() ?? "" },
  }).catch(() => null);
  if (answer === null) throw new Error("You are still signed in: Signalbox can't be reached.");
  if (!answer.ok && answer.status !== 401) {
    throw new Error(`You are still signed in: signing out failed with ${answer.status}.`);
  }
  localStorage.removeItem(KEY);
  location.assign("/_signalbox/");
}
