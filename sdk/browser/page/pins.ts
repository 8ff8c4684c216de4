import { isOurs, PIN_QUERY, pinned, pinOf, resolve, withQuery } from "./addresses.ts";

export const PIN_HEADER = "x-pulse-deployment";
const STALE_HEADER = "x-pulse-stale-affinity";
export const RELOAD_FLAG = "pulse_reload_on_stale_affinity";

export const NativeWebSocket = window.WebSocket;
const nativeFetch = window.fetch;
const NativeRequest = window.Request;

export type FoundStale = (reason: "stale-response" | "stale-event-source") => void;

/**
 * Has all that the page asks of its own origin by script reach its deployment. `checkPath` is asked whether that is still
 * there. What can't carry a header carries the pin in its query: sockets, event sources, beacons, workers, form posts.
 */
export function pinPage(id: string, checkPath: string, outdated: FoundStale): void {
  function isStaleAnswer(address: string, status: number, header: string | null): boolean {
    return status === 409 && header === "1" && isOurs(resolve(address));
  }

  function pinnedRequest(input: RequestInfo | URL, init: RequestInit | undefined, url: URL) {
    // Our own copy, made by the browser itself: body streams, signals and modes survive, the app's object is untouched.
    const request = new NativeRequest(input, init);
    const explicit = request.headers.get(PIN_HEADER) ?? pinOf(url);
    if (explicit === null) request.headers.set(PIN_HEADER, id);
    return { request, explicit };
  }

  async function pinnedFetch(input: RequestInfo | URL, init: RequestInit | undefined, url: URL) {
    const { request, explicit } = pinnedRequest(input, init, url);
    const response = await nativeFetch.call(window, request);
    if (explicit === null || explicit === id) {
      const header = response.headers.get(STALE_HEADER);
      if (isStaleAnswer(response.url, response.status, header)) outdated("stale-response");
    }
    return response;
  }

  function patchFetch(): void {
    window.fetch = new Proxy(nativeFetch, {
      apply(target, self, args: [input: RequestInfo | URL, init?: RequestInit]) {
        const [input, init] = args;
        const url = resolve(input instanceof NativeRequest ? input.url : input);
        if (!isOurs(url)) return Reflect.apply(target, self, args);
        return pinnedFetch(input, init, url);
      },
    });
  }

  function patchXhr(): void {
    const pins = new WeakMap<XMLHttpRequest, string | null>();
    function before<M extends "open" | "setRequestHeader" | "send">(
      method: M,
      note: (request: XMLHttpRequest, args: unknown[]) => void,
    ): void {
      XMLHttpRequest.prototype[method] = new Proxy(XMLHttpRequest.prototype[method], {
        apply(target, self: XMLHttpRequest, args: unknown[]) {
          note(self, args);
          return Reflect.apply(target, self, args);
        },
      });
    }
    before("open", (request, [, address]) => {
      const url = resolve(address);
      if (isOurs(url)) pins.set(request, pinOf(url));
      else pins.delete(request);
    });
    before("setRequestHeader", (request, [name, value]) => {
      if (pins.has(request) && String(name).toLowerCase() === PIN_HEADER) pins.set(request, String(value));
    });
    before("send", (request) => {
      const explicit = pins.get(request);
      if (explicit === null) request.setRequestHeader(PIN_HEADER, id);
      if (explicit !== null && explicit !== id) return;
      const settled = () => {
        const header = request.getResponseHeader(STALE_HEADER);
        if (isStaleAnswer(request.responseURL, request.status, header)) outdated("stale-response");
      };
      request.addEventListener("load", settled, { once: true });
    });
  }

  function patchWebSocket(): void {
    function pinnedSocket(address: unknown): unknown {
      const url = resolve(address);
      if (url === null || url.host !== location.host) return address;
      const explicit = pinOf(url);
      if (explicit !== null && explicit !== id) return address;
      const pin = explicit === null ? `${PIN_QUERY}=${id}` : "";
      return withQuery(url, pin, url.searchParams.has(RELOAD_FLAG) ? "" : `${RELOAD_FLAG}=1`);
    }
    window.WebSocket = new Proxy(NativeWebSocket, {
      construct(target, [address, ...rest]: unknown[], newTarget): WebSocket {
        return Reflect.construct(target, [pinnedSocket(address), ...rest], newTarget);
      },
    });
    ownConstructor(NativeWebSocket.prototype, window.WebSocket);
  }

  function patchEventSource(): void {
    const NativeEventSource = window.EventSource;
    window.EventSource = new Proxy(NativeEventSource, {
      construct(target, [address, ...rest]: unknown[], newTarget): EventSource {
        const url = resolve(address);
        const explicit = isOurs(url) ? pinOf(url) : "";
        const ours = explicit === null || explicit === id;
        const source: EventSource = Reflect.construct(target, [pinned(address, id), ...rest], newTarget);
        if (ours) {
          source.addEventListener("error", () => {
            if (source.readyState === NativeEventSource.CLOSED) void checkPin();
          });
        }
        return source;
      },
    });
    ownConstructor(NativeEventSource.prototype, window.EventSource);
  }

  /** An EventSource hides the status that it died of; it reports CLOSED once, so this asks once. */
  async function checkPin(): Promise<void> {
    try {
      const response = await nativeFetch.call(window, checkPath, {
        headers: { [PIN_HEADER]: id },
        cache: "no-store",
      });
      const header = response.headers.get(STALE_HEADER);
      if (isStaleAnswer(response.url, response.status, header)) outdated("stale-event-source");
    } catch {
      // Offline says nothing about the pin; the control socket finds out when it is back.
    }
  }

  /** Sent when the page is long gone, with no answer. */
  function patchFetchLater(): void {
    patchMethod(window, "fetchLater", (native, self, args) => {
      const [input, init] = args as [RequestInfo | URL, (RequestInit & { activateAfter?: number })?];
      const url = resolve(input instanceof NativeRequest ? input.url : input);
      if (!isOurs(url)) return Reflect.apply(native, self, args);
      const { activateAfter } = init ?? {};
      const later = activateAfter === undefined ? [] : [{ activateAfter }];
      return Reflect.apply(native, self, [pinnedRequest(input, init, url).request, ...later]);
    });
  }

  patchFetch();
  patchFetchLater();
  patchXhr();
  patchWebSocket();
  patchEventSource();
  patchBeacon(id);
  patchWorkers(id);
  patchForms(id);
}

function patchBeacon(id: string): void {
  patchMethod(Navigator.prototype, "sendBeacon", (native, self, [address, ...rest]) =>
    Reflect.apply(native, self, [pinned(address, id), ...rest]),
  );
}

/** What a worker asks for has the worker's address as its Referer, by which the edge knows where it belongs. */
function patchWorkers(id: string): void {
  for (const name of ["Worker", "SharedWorker"] as const) {
    const Native: typeof Worker | typeof SharedWorker | undefined = window[name];
    if (Native === undefined) continue;
    const patched = new Proxy(Native, {
      construct(target, [address, ...rest]: unknown[], newTarget): object {
        // A Trusted Type stays what the page's policy made of it.
        const isPlain = typeof address === "string" || address instanceof URL;
        return Reflect.construct(target, [isPlain ? pinned(address, id) : address, ...rest], newTarget);
      },
    });
    Object.defineProperty(window, name, { value: patched, configurable: true, writable: true });
    ownConstructor(Native.prototype, patched);
  }
}

/**
 * Only posts: what a GET form loads is a new document, which belongs to whoever is active. The address is pinned for the
 * moment of the submission, so that nothing else ever sees it.
 */
function patchForms(id: string): void {
  function pinFor(form: HTMLFormElement, submitter: HTMLElement | null): (() => void) | null {
    const own = submitter?.hasAttribute("formmethod") === true ? submitter.getAttribute("formmethod") : null;
    if ((own ?? form.getAttribute("method"))?.toLowerCase() !== "post") return null;
    const [element, name] =
      submitter?.hasAttribute("formaction") === true
        ? [submitter, "formaction"]
        : ([form, "action"] as const);
    const former = element.getAttribute(name);
    const address = pinned(former === null || former === "" ? location.href : former, id);
    if (typeof address !== "string" || address === former) return null;
    element.setAttribute(name, address);
    return () => {
      if (former === null) element.removeAttribute(name);
      else element.setAttribute(name, former);
    };
  }
  // Behind the app's own listeners, which may take the submission over.
  window.addEventListener("submit", (event) => {
    if (event.defaultPrevented || !(event.target instanceof HTMLFormElement)) return;
    const restore = pinFor(event.target, event.submitter);
    if (restore !== null) setTimeout(restore);
  });
  patchMethod(HTMLFormElement.prototype, "submit", (native, self, args) => {
    const restore = self instanceof HTMLFormElement ? pinFor(self, null) : null;
    try {
      return Reflect.apply(native, self, args);
    } finally {
      restore?.();
    }
  });
}

type Apply = (native: Function, self: unknown, args: unknown[]) => unknown;

/** Where the browser has it. */
function patchMethod(owner: object, name: string, apply: Apply): void {
  const native: unknown = Reflect.get(owner, name);
  if (typeof native === "function") Reflect.set(owner, name, new Proxy(native, { apply }));
}

// `socket.constructor === WebSocket` goes on holding.
function ownConstructor(prototype: object, constructor: object): void {
  Object.defineProperty(prototype, "constructor", {
    value: constructor,
    configurable: true,
    writable: true,
  });
}
