/** As nearly all are called: sw.js, service-worker.js, firebase-messaging-sw.js, ngsw-worker.js. */
const USUAL_NAME = /(?:^|[/._-])(?:sw|service-?worker|ngsw-worker)(?:[._-][^/]*)?\.m?js$/i;
const KNOWN_LIMIT = 1_000;

/**
 * The scripts of service workers. What such a worker fetches by itself says so by its `Referer` alone. It belongs to the
 * active version, as the worker does: one that keeps the shell of the former version would show it when that is gone.
 */
export class ServiceWorkers {
  /** Those with names of their own, by app and path. */
  readonly #known = new Set<string>();

  /** A browser has asked for one, as what it is. */
  note(app: string, path: string): void {
    if (USUAL_NAME.test(path)) return;
    if (this.#known.size >= KNOWN_LIMIT) this.#known.clear();
    this.#known.add(`${app} ${path}`);
  }

  /** Whether a request of this `Referer` is a service worker's own. */
  isAsking(app: string, referer: string | null, host: string): boolean {
    // A page's address rarely ends so, and then nothing more is looked at.
    if (referer === null || !/\.m?js(?:\?|$)/i.test(referer)) return false;
    const from = URL.parse(referer);
    if (from?.host !== host) return false;
    return USUAL_NAME.test(from.pathname) || this.#known.has(`${app} ${from.pathname}`);
  }
}
