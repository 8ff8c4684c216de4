/*
 * The page helper that the edge puts into documents, served as `/_signalbox/page.js`. It is the sdk's, but that it speaks to
 * the PageHub, takes its own tag out of the document before the app starts, and never writes to the console.
 */
import { withQuery } from "./addresses.ts";
import { claimCookie } from "./claims.ts";
import { ownTag, parseMessage, socketAddress, startHelper } from "./start.ts";

/** Answered by the platform without waking the hub. A background tab's timers run once a minute. */
const PING_MS = 30_000;
const STALE_CLOSE_CODE = 4409;
const UNCOUNTED_CLOSE_CODE = 4404;

const tag = ownTag();
tag?.remove();
const pathOf = (id: string): string => `/_signalbox/page?deployment=${id}`;

startHelper(tag, {
  checkPath: pathOf,
  started: (id) => claimCookie(id, pathOf(id), () => window.signalbox?.state === "connected"),
  gaveUp: () => undefined,
  dialect({ deploymentId, pageId, reloads, servedByOwn }) {
    if (deploymentId === null || tag?.dataset["noSocket"] !== undefined) return null;
    let isAnswered = true;
    const pinnedFetch = window.fetch;
    return {
      address: () => withQuery(socketAddress(pathOf(deploymentId)), `page=${pageId}`),
      isFinal: (code) => code === STALE_CLOSE_CODE || code === UNCOUNTED_CLOSE_CODE,
      // A proxy on the way may let no socket through. A page that says so isn't taken for gone.
      failed() {
        const path = `${pathOf(deploymentId)}&uncounted`;
        pinnedFetch.call(window, path, { cache: "no-store" }).catch(() => undefined);
      },
      heard(data, link) {
        isAnswered = true;
        const message = parseMessage(data);
        if (message?.["type"] === "reload") reloads.outdated("reason" in message ? "stale-socket" : "notice");
        if (message?.["type"] !== "welcome") return;
        link.welcomed();
        link.onEnd(servedByOwn());
        const pings = setInterval(() => {
          if (!isAnswered) return link.lost();
          isAnswered = false;
          link.send("ping");
        }, PING_MS);
        link.onEnd(() => clearInterval(pings));
      },
    };
  },
});
