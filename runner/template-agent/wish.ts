/** What a prompt asks for, as far as keywords tell. */
export interface Wish {
  starter: StarterName;
  title: string;
  sections: string[];
  palette: Palette;
}

export const starterNames = ["static", "vite-react", "next", "astro", "tanstack-start", "hono-api"] as const;
export type StarterName = (typeof starterNames)[number];

export interface Palette {
  name: string;
  paper: string;
  ink: string;
  accent: string;
}

/** The first whose words the prompt has; the more special ones first. */
const STARTERS: readonly (readonly [StarterName, RegExp])[] = [
  ["next", /\bnext(\.?js)?\b/i],
  ["astro", /\bastro\b/i],
  ["tanstack-start", /\btanstack\b/i],
  ["hono-api", /\b(hono|rest api|json api|api server|backend|webhook|endpoints?)\b/i],
  ["static", /\b(static|plain html|html only|no javascript|without javascript)\b/i],
];

/** What a page of a trade usually has. */
const SECTIONS: readonly (readonly [RegExp, readonly string[]])[] = [
  [/\b(bakery|restaurant|café|cafe|bar|pizzeria|food)\b/i, ["Menu", "Our story", "Opening hours", "Find us"]],
  [/\b(portfolio|photographer|designer|artist)\b/i, ["Work", "About", "Contact"]],
  [/\b(shop|store|e-?commerce)\b/i, ["Products", "Delivery", "Reviews", "Contact"]],
  [/\b(blog|magazine|journal)\b/i, ["Latest posts", "About", "Subscribe"]],
  [/\b(todo|task|kanban)\b/i, ["Tasks"]],
  [/\b(dashboard|analytics|admin)\b/i, ["Overview", "Reports", "Settings"]],
  [/\b(event|conference|wedding|meetup)\b/i, ["Programme", "Speakers", "Location", "Sign up"]],
];
const OTHER_SECTIONS = ["About", "Features", "Contact"];

const PALETTES: readonly (readonly [RegExp, Palette])[] = [
  [/\b(dark|night|space|neon)\b/i, { name: "night", paper: "#11131a", ink: "#eceef5", accent: "#7aa2ff" }],
  [
    /\b(bakery|bread|coffee|wood|warm|autumn)\b/i,
    { name: "bread", paper: "#fbf5ec", ink: "#33261a", accent: "#b8622c" },
  ],
  [
    /\b(sea|ocean|water|blue|travel|sail)\b/i,
    { name: "sea", paper: "#f2f8fa", ink: "#12303a", accent: "#0b7a92" },
  ],
  [
    /\b(garden|green|plant|nature|eco|farm)\b/i,
    { name: "garden", paper: "#f5f8f1", ink: "#1e2d1a", accent: "#4b7f2f" },
  ],
  [
    /\b(wedding|rose|pink|beauty|flower)\b/i,
    { name: "rose", paper: "#fdf4f5", ink: "#3a1c24", accent: "#b8405e" },
  ],
];
const PLAIN: Palette = { name: "plain", paper: "#ffffff", ink: "#1c1d21", accent: "#3b5bdb" };

const TITLE_LIMIT = 60;

export function wishOf(prompt: string): Wish {
  const named = /^Starter: ([a-z-]+)$/m.exec(prompt)?.[1];
  return {
    starter:
      starterNames.find((name) => name === named) ??
      STARTERS.find(([, words]) => words.test(prompt))?.[0] ??
      "vite-react",
    title: titleOf(prompt),
    sections: sectionsOf(prompt),
    palette: PALETTES.find(([words]) => words.test(prompt))?.[1] ?? PLAIN,
  };
}

/** A quoted name, one after "called", or what the page is for. */
function titleOf(prompt: string): string {
  const quoted = /[“"«]([^”"»\n]{1,60})[”"»]/.exec(prompt)?.[1];
  const called = /\b(?:called|named|titled)\s+([\p{L}\p{N}][\p{L}\p{N}&' -]{0,59})/iu.exec(prompt)?.[1];
  const subject = /\bfor (?:a |an |the |my |our )?([\p{L}\p{N}][\p{L}\p{N}&' -]{0,59})/iu.exec(prompt)?.[1];
  const words = (
    quoted ??
    called ??
    subject ??
    prompt.replace(/^\s*(build|create|make|write)( me)?( an?| the)?\s+/i, "")
  )
    .split(/[.,;:\n]|\b(?:with|using|that|which|in)\b/i)[0]
    ?.trim();
  const title = words === undefined || words === "" ? "New project" : words.slice(0, TITLE_LIMIT).trim();
  return title.charAt(0).toUpperCase() + title.slice(1);
}

/** Those named after "sections" or "with", else the usual ones of the trade. */
function sectionsOf(prompt: string): string[] {
  const named = /\b(?:sections?|pages?)\s*(?::|for|called|named)?\s+([^.\n]{3,200})/i.exec(prompt)?.[1];
  const list = named
    ?.split(/,|\band\b/)
    .map((one) => one.trim())
    .filter((one) => /^[\p{L}\p{N} '&-]{2,30}$/u.test(one));
  if (list !== undefined && list.length > 1)
    return list.slice(0, 8).map((one) => one.charAt(0).toUpperCase() + one.slice(1));
  return [...(SECTIONS.find(([words]) => words.test(prompt))?.[1] ?? OTHER_SECTIONS)];
}
