/** The host that a request is for. */
export interface RequestHost {
  /** In lower case, without port and without the root's dot: what apps are found by. */
  name: string;
  /** As an origin spells it: in lower case, with the port where it isn't the scheme's own. */
  authority: string;
}

type UrlHost = Pick<URL, "protocol" | "host" | "hostname">;

/** A DNS name has at most 253 characters; longer ones aren't worth remembering. */
const NAME_LIMIT = 253;

/**
 * Null where the Host header isn't one host with an optional port. workerd makes the URL from that header as it is, so
 * a slash, a question mark or a user in it would move what we take for the path: look here before at anything else.
 */
export function requestHost(request: Request, url: UrlHost): RequestHost | null {
  const given = request.headers.get("host");
  if (given !== null && !(SHAPE.test(given) && isSameHost(given, url))) return null;
  const { hostname } = url;
  const name = hostname.endsWith(".") ? hostname.slice(0, -1) : hostname;
  if (name === "" || name.endsWith(".") || name.length > NAME_LIMIT) return null;
  return { name, authority: url.host };
}

/** Stricter than URLs are, which also take commas, asterisks and the like. */
const SHAPE = /^[\w.-]+(?::\d*)?$|^\[[\da-f:.]+\](?::\d*)?$/i;

/** Clients may also spell it in upper case, with the scheme's own port, or with zeros before the port. */
function isSameHost(given: string, url: UrlHost): boolean {
  if (given === url.host) return true;
  const spelled = `${url.protocol}//${given}`;
  return URL.canParse(spelled) && new URL(spelled).host === url.host;
}
