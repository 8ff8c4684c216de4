/** The project's slug, a dot, and something that no other build of it has. */
export function newBuildId(slug: string): string {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const digits = [...random].map((one) => one.toString(36).padStart(7, "0")).join("");
  return `${slug}.${digits}`;
}
