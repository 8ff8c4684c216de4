export const PIN_QUERY = "pulse_deployment";

export function pinOf(url: URL): string | null {
  return url.searchParams.get(PIN_QUERY);
}

export function resolve(address: unknown): URL | null {
  try {
    return new URL(String(address), document.baseURI);
  } catch {
    // The native call that follows reports the malformed address better than we could.
    return null;
  }
}

// Text, since URLSearchParams would respell the rest of the app's query.
export function withQuery(url: URL, ...parameters: string[]): string {
  const copy = new URL(url);
  copy.search = [copy.search.slice(1), ...parameters].filter((part) => part !== "").join("&");
  return copy.href;
}

export function withoutPin(url: URL): string {
  const copy = new URL(url);
  const isPin = (part: string) => new URLSearchParams(part).has(PIN_QUERY);
  copy.search = copy.search
    .slice(1)
    .split("&")
    .filter((part) => !isPin(part))
    .join("&");
  return copy.href;
}

// A blob's address has this page's origin, too, but no server behind it.
export function isOurs(url: URL | null): url is URL {
  return url !== null && url.origin === location.origin && url.protocol === location.protocol;
}

/** Where an address of this origin has no pin yet, the same with one; else as it was given. */
export function pinned(address: unknown, id: string): unknown {
  const url = resolve(address);
  return isOurs(url) && pinOf(url) === null ? withQuery(url, `${PIN_QUERY}=${id}`) : address;
}
