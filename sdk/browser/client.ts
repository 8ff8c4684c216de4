/*
 * The browser helper, served as one classic script by `/_pulse/client.js`. It keeps the page on its deployment, counts it as
 * a session there, and reloads it, once and politely, when that deployment goes away. `api.ts` describes what the page sees
 * of it.
 *
 * Two limits come with the header: a fetch that the server redirects to another origin takes it along, as browsers do
 * with any header, and a `no-cors` fetch goes without it.
 */
import { withQuery } from "./page/addresses.ts";
import { RELOAD_FLAG } from "./page/pins.ts";
import { ownTag, parseMessage, pinParameter, socketAddress, startHelper } from "./page/start.ts";

const STALE_CLOSE_CODE = 4409;
/** The server pings. After this many silent intervals it is gone. */
const SILENT_PINGS = 3;

startHelper(ownTag(), {
  checkPath: () => "/_pulse/meta",
  gaveUp() {
    console.warn(
      `signalbox: ${window.signalbox?.deploymentId ?? "this page"} is stale, and reloading didn't help`,
    );
  },
  dialect({ deploymentId, pageId, reloads, servedByOwn }) {
    let silentAfterMs = 0;
    let silence: number | undefined;
    return {
      address() {
        const pin = deploymentId === null ? [] : [pinParameter(deploymentId), `${RELOAD_FLAG}=1`];
        return withQuery(socketAddress("/_pulse/session"), ...pin, `page=${pageId}`);
      },
      isFinal: (code) => code === STALE_CLOSE_CODE,
      bye: "bye",
      heard(data, link) {
        const message = parseMessage(data);
        if (message?.["type"] === "welcome") {
          link.welcomed();
          const { deployment_id: served, ping_interval_ms: intervalMs } = message;
          silentAfterMs = typeof intervalMs === "number" ? intervalMs * SILENT_PINGS : 0;
          if (deploymentId !== null && typeof served === "string" && served !== deploymentId) {
            reloads.outdated("stale-socket");
          } else link.onEnd(servedByOwn());
          link.onEnd(() => {
            clearTimeout(silence);
            silentAfterMs = 0;
          });
        }
        if (message?.["type"] === "reload") {
          reloads.outdated(message["reason"] === "stale-affinity" ? "stale-socket" : "notice");
        }
        clearTimeout(silence);
        if (silentAfterMs > 0) silence = window.setTimeout(link.lost, silentAfterMs);
      },
    };
  },
});
