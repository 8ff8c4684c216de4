/** Whether a pattern of `*` and `?` is all of a text; in time that grows with both, whatever the pattern. */
export function matchesWildcard(pattern: string, text: string): boolean {
  let at = 0;
  let star = -1;
  let resumeAt = 0;
  let place = 0;
  while (at < text.length) {
    const wanted = pattern[place];
    if (wanted === "*") {
      star = place++;
      resumeAt = at;
    } else if (wanted === "?" || wanted === text[at]) {
      place++;
      at++;
    } else if (star >= 0) {
      place = star + 1;
      at = ++resumeAt;
    } else return false;
  }
  while (pattern[place] === "*") place++;
  return place === pattern.length;
}
