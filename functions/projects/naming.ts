const NAME_LIMIT = 60;
const SLUG_LIMIT = 40;

/** Words that say nothing about what a project is. */
const FILLER = new Set(
  "a an the of for with and or to in on my our me us please build create make write new simple small nice page site website app web landing application project".split(
    " ",
  ),
);

/** A project's name from the prompt that it begins with: its first words that mean something. */
export function nameFromPrompt(prompt: string): string {
  const quoted = /["“«]([^"”»\n]{1,60})["”»]/.exec(prompt)?.[1]?.trim();
  if (quoted !== undefined && quoted !== "") return quoted;
  const words = prompt.split(/[.!?\n]/)[0]?.match(/[\p{L}\p{N}'-]+/gu) ?? [];
  const telling = words.filter((word) => !FILLER.has(word.toLowerCase())).slice(0, 4);
  const name = (telling.length > 0 ? telling : words.slice(0, 4)).join(" ").slice(0, NAME_LIMIT);
  return name === "" ? "Project" : name.charAt(0).toUpperCase() + name.slice(1);
}

/** The last part of a git address. */
export function nameFromAddress(address: string | undefined): string {
  const last = address?.replace(/\/+$/, "").split(/[/:]/).at(-1) ?? "";
  const name = last.replace(/\.git$/, "").slice(0, NAME_LIMIT);
  return name === "" ? "Project" : name;
}

/** A DNS label from a name; `project` where nothing of it can be one. */
export function slugFromName(name: string): string {
  const plain = name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const slug = plain
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, SLUG_LIMIT)
    .replace(/^-+|-+$/g, "");
  return slug === "" ? "project" : slug;
}

/** The slug itself first, then ones with a number. */
export function* slugsLike(slug: string): Generator<string> {
  yield slug;
  for (let number = 2; ; number++) yield `${slug}-${number}`;
}
