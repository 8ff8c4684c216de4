/** `scheme://host`, or `//host` with either slash, as browsers read it. */
const AUTHORITY = /^\s*(?:https?:)?[\\/]{2,}[^\\/?#]*/i;

/**
 * Where a browser goes next by a `Location`: at the public origin if that is at a host of the backend's own, else as it
 * is. By its host alone: behind a TLS proxy a backend takes its scheme for another one. The rest stays as it is spelled.
 */
export function publicLocation(
  value: string,
  isOwn: (host: string) => boolean,
  publicOrigin: string,
): string {
  if (!AUTHORITY.test(value)) return value;
  const url = URL.parse(value, "http://relative.invalid");
  return url !== null && isOwn(url.host) ? value.replace(AUTHORITY, publicOrigin) : value;
}

/** The same for a `Refresh`: `5; url=…`. */
export function publicRefresh(value: string, isOwn: (host: string) => boolean, publicOrigin: string): string {
  const [, start = "", url = ""] = /^(\s*[\d.]*\s*[;,]\s*(?:url\s*=\s*)?["']?)(.*)$/is.exec(value) ?? [];
  return url === "" ? value : start + publicLocation(url, isOwn, publicOrigin);
}
