/** The parts of a request's URL. A `URL` is one, too. */
export type RequestUrl = Pick<URL, "protocol" | "host" | "hostname" | "pathname" | "search">;

/**
 * What any parser leaves as it is: a host in lower case that can't be a number or Punycode, a port that no scheme
 * implies, no dot segments, and nothing that gets encoded.
 */
const PLAIN =
  /^(https?:)\/\/((?!xn--|[^/]*\.xn--)(?:[a-z0-9][a-z0-9-]*\.)*[a-z][a-z0-9-]*)(:[1-9]\d{3}|:[1-5]\d{4})?(\/(?:[\w!$&'()*+,\-:;=@~/]|(?<!\/)\.|%(?!2[eE]))*)(\?[\w!$&()*+,\-./:;=?@~%]*)?$/;

/** Parses a URL by hand where that gives the same as a `URL` object, which costs 2 µs. Null where it isn't one. */
export function readUrl(text: string): RequestUrl | null {
  const plain = PLAIN.exec(text);
  if (plain === null) return URL.parse(text);
  const [, protocol = "", hostname = "", port = "", pathname = "", search = ""] = plain;
  return { protocol, host: hostname + port, hostname, pathname, search: search === "?" ? "" : search };
}

/** The path and query of a URL as the client spelled them, without a detour through a parser. */
export function pathAndQuery(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  return start === -1 ? "/" : url.slice(start);
}

/** The path as the client spelled it. */
export function pathOf(url: string): string {
  const path = pathAndQuery(url);
  const end = path.search(/[?#]/);
  return end === -1 ? path : path.slice(0, end);
}

/** The first value of a query's parameter, as `URLSearchParams` finds it. */
export function queryValue(search: string, name: string): string | null {
  if (search.includes("%")) return new URLSearchParams(search).get(name);
  for (let at = search.indexOf(name); at !== -1; at = search.indexOf(name, at + 1)) {
    const before = search[at - 1];
    if (before !== "&" && !(before === "?" && at === 1)) continue;
    const end = at + name.length;
    if (end === search.length || search[end] === "&") return "";
    if (search[end] !== "=") continue;
    const next = search.indexOf("&", end);
    return search.slice(end + 1, next === -1 ? undefined : next).replaceAll("+", " ");
  }
  return null;
}
