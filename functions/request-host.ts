/** The host that a request is for. */
export interface RequestHost {
  /** In lower case, without port and without the root's dot: what apps are found by. */
  name: string;
  /** As an origin spells it: in lower case, with the port where it isn't the scheme's own. */
  authority: string;
}

/** A DNS name has at most 253 characters; longer ones aren't worth remembering. */
const NAME_LIMIT = 253;

/**
 * Null where the Host header isn't one host with an optional port. workerd makes the URL from that header as it is, so
 * a slash, a question mark or a user in it would move what we take for the path: look here before at anything else.
 */
export function requestHost(request: Request, url: URL): RequestHost | null {
  const given = request.headers.get("host");
  if (given !== null && given !== url.host && !isSameHost(given, url)) return null;
  const { hostname } = url;
  const name = hostname.endsWith(".") ? hostname.slice(0, -1) : hostname;
  if (name === "" || name.endsWith(".") || name.length > NAME_LIMIT) return null;
  return { name, authority: url.host };
}

/** Other spellings that a client may use: upper case, the scheme's own port, zeros before it. */
function isSameHost(given: string, url: URL): boolean {
  if (!/^[\w.-]+(?::\d*)?$|^\[[\da-f:.]+\](?::\d*)?$/i.test(given)) return false;
  const spelled = `${url.protocol}//${given}`;
  return URL.canParse(spelled) && new URL(spelled).host === url.host;
}
