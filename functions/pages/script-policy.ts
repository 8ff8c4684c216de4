/** Whether a Content-Security-Policy lets one more script of the page's own origin in. */
export type ScriptPermission =
  { kind: "allowed"; nonce: string | null; socket: boolean } | { kind: "forbidden" };

/**
 * What the policies of a response say about a script at `scriptUrl`, and about a WebSocket to the same origin. Every
 * policy has to agree. Source: CSP level 3, sections 6.7.1 and 6.7.2.
 */
export function scriptPermission(headers: Headers, scriptUrl: URL): ScriptPermission {
  const header = headers.get("content-security-policy");
  const permission = { nonce: null as string | null, socket: true };
  for (const policy of header === null ? [] : header.split(",")) {
    const directives = parse(policy);
    const sandbox = directives.get("sandbox");
    if (sandbox && !sandbox.includes("allow-scripts")) return { kind: "forbidden" };
    const scripts =
      directives.get("script-src-elem") ?? directives.get("script-src") ?? directives.get("default-src");
    if (scripts) {
      const nonce = nonceOf(scripts);
      // One nonce can't be two policies' at once, but for the same one.
      if (nonce !== null && (permission.nonce ?? nonce) !== nonce) return { kind: "forbidden" };
      permission.nonce ??= nonce;
      if (nonce === null && (scripts.includes("'strict-dynamic'") || !matches(scripts, scriptUrl)))
        return { kind: "forbidden" };
    }
    const connections = directives.get("connect-src") ?? directives.get("default-src");
    if (connections && !letsSocketIn(connections, scriptUrl)) permission.socket = false;
  }
  return { kind: "allowed", ...permission };
}

/** Directive names in lower case; the first of two with one name counts. */
function parse(policy: string): Map<string, string[]> {
  const directives = new Map<string, string[]>();
  for (const text of policy.split(";")) {
    const [name, ...sources] = text.trim().split(/\s+/);
    const key = name?.toLowerCase() ?? "";
    if (key !== "" && !directives.has(key)) directives.set(key, sources);
  }
  return directives;
}

function nonceOf(sources: string[]): string | null {
  for (const source of sources) {
    const nonce = /^'nonce-([A-Za-z0-9+/_-]+={0,2})'$/i.exec(source)?.[1];
    if (nonce !== undefined) return nonce;
  }
  return null;
}

/** Browsers differ about sources without a scheme, and with that of a page: a page that isn't counted is the safe answer. */
function letsSocketIn(sources: string[], page: URL): boolean {
  const scheme = page.protocol === "https:" ? "wss:" : "ws:";
  const known = new Set(["'self'", "*", "ws:", scheme, `${scheme}//${page.host}`]);
  return sources.some((source) => known.has(source.toLowerCase()));
}

function matches(sources: string[], url: URL): boolean {
  return sources.some((source) => {
    const lower = source.toLowerCase();
    if (lower === "'self'" || lower === "*") return true;
    if (lower === url.protocol) return true;
    if (lower === "http:" && url.protocol === "https:") return true;
    const host = /^(?:(https?):\/\/)?(\*\.)?([a-z0-9.-]+)(?::(\d+|\*))?(\/.*)?$/.exec(lower);
    // A path would have to match, too: whoever lists one means files of theirs.
    if (!host || host[5] !== undefined) return false;
    const [, scheme, wildcard, name = "", port] = host;
    if (scheme !== undefined && scheme !== url.protocol.slice(0, -1) && scheme !== "http") return false;
    const sameName = wildcard === undefined ? url.hostname === name : url.hostname.endsWith(`.${name}`);
    const samePort = port === "*" || (port ?? "") === url.port;
    return sameName && samePort;
  });
}
