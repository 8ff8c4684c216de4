/** What stands in place of a secret. */
const COVER = "***";
/** Shorter ones stand in other words, too: what hides them hides everything. */
export const SECRET_LEAST = 6;
/** Longer forms are masked where they are whole, and not looked for over two pieces. */
const HELD_LIMIT = 4_096;

/** Takes secrets out of what is shown. It only ever learns more: what knew an old value may still say it. */
export class Mask {
  readonly #forms = new Set<string>();
  #pattern: RegExp | null = null;
  #held: string[] = [];

  add(secrets: Iterable<string>): void {
    const before = this.#forms.size;
    for (const secret of secrets) for (const form of formsOf(secret)) this.#forms.add(form);
    if (this.#forms.size === before) return;
    // The longest first: one may be a part of another.
    const forms = [...this.#forms].sort((one, other) => other.length - one.length);
    this.#pattern = new RegExp(forms.map(escaped).join("|"), "g");
    this.#held = forms.filter(({ length }) => length <= HELD_LIMIT);
  }

  text(text: string): string {
    return this.#pattern === null ? text : text.replace(this.#pattern, COVER);
  }

  /** A copy with every text in it masked; not the names of its fields. */
  value<T>(value: T): T {
    return this.#pattern === null ? value : (this.#deep(value) as T);
  }

  /** How many of a text's last characters may be the beginning of a secret whose rest is to come. */
  held(text: string): number {
    let held = 0;
    for (const form of this.#held) {
      for (let length = Math.min(form.length - 1, text.length); length > held; length--) {
        if (form.startsWith(text.slice(-length))) held = length;
      }
    }
    return held;
  }

  #deep(value: unknown): unknown {
    if (typeof value === "string") return this.text(value);
    if (Array.isArray(value)) return value.map((one) => this.#deep(one));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.#deep(one)]));
  }
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/** A secret as programs write it. */
function formsOf(secret: string): string[] {
  if (secret.length < SECRET_LEAST) return [];
  const lines = secret.split(/\r?\n/).filter((line) => line.length >= SECRET_LEAST);
  return [
    secret,
    ...lines,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret.toWellFormed()),
    Buffer.from(secret).toString("hex"),
    ...base64Forms(Buffer.from(secret)),
  ].filter(({ length }) => length >= SECRET_LEAST);
}

/** As it is, and wherever it stands in something longer: without the characters that its neighbours decide. */
function base64Forms(secret: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), secret]).toString("base64");
    const first = before === 0 ? 0 : before + 1;
    const core = text.slice(first, Math.floor(((before + secret.length) * 8) / 6));
    return [core, core.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
