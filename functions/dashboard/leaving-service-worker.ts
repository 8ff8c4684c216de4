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
