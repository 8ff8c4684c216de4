/**
 * Whether a browser or a cache may use an answer again, unasked, for a page of another version. Not where the name holds
 * a hash of what is in it: whichever version answers, it is the same. `Vary` on those would empty the browser's cache
 * of them whenever any cookie changes.
 */
export function isReusedAcrossVersions(status: number, headers: Headers, path: string): boolean {
  const control = headers.get("cache-control");
  if (control === null) {
    if (!KEPT_UNASKED.has(status) && !headers.has("last-modified") && !headers.has("expires")) return false;
  } else {
    if (/no-store|immutable/i.test(control)) return false;
    // Asked again each time, and the version that answers compares it with its own.
    if (/no-cache|max-age=0(?:\D|$)/i.test(control) && headers.has("etag")) return false;
  }
  return !hasHashedName(path);
}

/** Browsers keep these for ever where nothing says otherwise; others by their age, if they say it. */
const KEPT_UNASKED = new Set([300, 301, 308, 410]);

/** `index-BkX3aZ9q.js`, `main.8f3a9c1b.css`, `Inter.woff2-D4e5f6A7.woff2`; not `jquery-bootstrap.js`. */
export function hasHashedName(path: string): boolean {
  const [, hash] =
    /(?:^|[.\-_~])([\w-]{8,64})(?:\.[a-z0-9]{1,5}){1,2}$/i.exec(path.slice(path.lastIndexOf("/") + 1)) ?? [];
  if (hash === undefined) return false;
  const last = hash.slice(-8);
  const isHex = /^[0-9a-f]+$/.test(last) && /\d/.test(last) && /[a-f]/.test(last);
  return isHex || (/[A-Z]/.test(last) && /\d|[A-Z].*[A-Z]/.test(last) && /[a-z\d]/.test(last));
}
