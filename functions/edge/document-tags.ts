/**
 * The `ETag` of a page names its deployment. Two versions may give a page the same tag (size and time of a file that an
 * image build set to 0, say), and a 304 to the other's tag would show the other's page.
 */
const MARKED = /^(?:W\/)?"(.*);signalbox=([a-z0-9][a-z0-9-]{0,23})(;weak)?"$/;
const TAG = /(?:W\/)?"[^"]*"/g;

/** Weak, as the page helper may be in the page, or not, with the same tag. */
export function markTag(headers: Headers, deploymentId: string): void {
  const [, weak = "", opaque] = /^(W\/)?"([^"]*)"$/.exec(headers.get("etag") ?? "") ?? [];
  if (opaque === undefined) return;
  headers.set("etag", `W/"${opaque};signalbox=${deploymentId}${weak === "" ? "" : ";weak"}"`);
}

/**
 * Gives a deployment its own tags back and keeps those of others from it; what is asked for as a page is compared with
 * nothing else. Returns whether a marked tag remains.
 */
export function unmarkTags(headers: Headers, deploymentId: string, isPage: boolean): boolean {
  const given = headers.get("if-none-match") ?? "";
  const kept: string[] = [];
  let hasMarked = false;
  let hasOwn = false;
  for (const [tag] of given.matchAll(TAG)) {
    const [, opaque, of, weak] = MARKED.exec(tag) ?? [];
    hasMarked ||= of !== undefined;
    if (of === undefined && !isPage) kept.push(tag);
    if (of !== deploymentId) continue;
    hasOwn = true;
    kept.push(`${weak === undefined ? "" : "W/"}"${opaque}"`);
  }
  if (!hasMarked && !isPage) return false;
  if (kept.length > 0) headers.set("if-none-match", kept.join(", "));
  else for (const name of CONDITIONS) headers.delete(name);
  return hasOwn;
}

/** What asks to be told only of changes. */
const CONDITIONS = ["if-none-match", "if-modified-since"];

export function dropConditions(headers: Headers): void {
  for (const name of CONDITIONS) headers.delete(name);
}
