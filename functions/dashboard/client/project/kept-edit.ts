/** A text that isn't saved yet, and the hash of the file that it was made from. */
export interface Edit {
  text: string;
  sha256: string | undefined;
}

const keyOf = (slug: string, path: string): string => `signalbox-edit:${slug}/${path}`;

export function keepEdit(slug: string, path: string, edit: Edit): void {
  try {
    sessionStorage.setItem(keyOf(slug, path), JSON.stringify(edit));
  } catch {
    // Too large for the browser: it is in the editor alone.
  }
}

export function keptEdit(slug: string, path: string): Edit | null {
  const kept = sessionStorage.getItem(keyOf(slug, path));
  return kept === null ? null : (JSON.parse(kept) as Edit);
}

export function forgetEdit(slug: string, path: string): void {
  sessionStorage.removeItem(keyOf(slug, path));
}
