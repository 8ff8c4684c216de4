import { Failure } from "./failure.ts";

/** A table of an array, `[[migrations]]` and the lines after it, and what tells it from others of its kind. */
interface Block {
  header: string;
  key: string;
  text: string;
}

/** Tables that a Worker can't run without, and the key of each that names one. */
const NEEDED = { "durable_objects.bindings": "name", migrations: "tag" } as const;

/** The other spelling of an array of tables, which none can be added to from below. */
const INLINE = /^\s*(?:(?:durable_objects\.)?bindings|migrations)\s*=\s*\[/m;

/**
 * Adds the Durable Object bindings and migrations that `template` has and `config` lacks; all else stays as it is. `added`
 * names each. They can stand at the end of any TOML file, since a header begins a table of its own.
 */
export function addMissingBlocks(config: string, template: string): { text: string; added: string[] } {
  const there = new Set(blocks(config).map(({ key }) => key));
  const missing = blocks(template).filter(({ key }) => !there.has(key));
  if (missing.length === 0) return { text: config, added: [] };
  if (INLINE.test(config)) {
    throw new Failure(
      "config",
      "inline_tables",
      `wrangler.toml writes its bindings or migrations as one array. Add to it:\n${missing.map(({ text }) => text).join("\n")}`,
    );
  }
  const text = [config.trimEnd(), ...missing.map((block) => block.text)].join("\n\n");
  return { text: `${text}\n`, added: missing.map(({ key }) => key) };
}

/** Lines of `template` about compatibility that `config` doesn't have. */
export function otherCompatibility(config: string, template: string): string[] {
  const lines = config.split("\n").map((line) => line.trim());
  return template
    .split("\n")
    .filter((line) => line.startsWith("compatibility_"))
    .filter((line) => !lines.includes(line));
}

function blocks(text: string): Block[] {
  return text
    .split(/^(?=\s*\[)/m)
    .map((part) => part.trim())
    .flatMap((part) => {
      const header = /^\[\[\s*([\w.]+)\s*\]\]/.exec(part)?.[1];
      if (header !== "durable_objects.bindings" && header !== "migrations") return [];
      const name = new RegExp(`^\\s*${NEEDED[header]}\\s*=\\s*["']([^"']+)["']`, "m").exec(part)?.[1];
      // A comment after the last line belongs to the table that follows it.
      return name === undefined ? [] : [{ header, key: `[[${header}]] ${name}`, text: part }];
    });
}
