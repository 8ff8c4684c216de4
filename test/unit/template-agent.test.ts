import { expect, test } from "vitest";
import { nameFromPrompt, slugFromName, slugsLike } from "../../functions/projects/naming.ts";
import { filesOf } from "../../runner/template-agent/starters.ts";
import { starterNames, wishOf } from "../../runner/template-agent/wish.ts";

test.each([
  ["a landing page for a bakery", "vite-react", "Bakery", "bread"],
  ["Build me a Next.js shop called Old Books, with reviews", "next", "Old Books", "plain"],
  ["an Astro blog about the sea", "astro", "An Astro blog about the sea", "sea"],
  ["a TanStack dashboard", "tanstack-start", "A TanStack dashboard", "plain"],
  ['a REST API named "Parcels"', "hono-api", "Parcels", "plain"],
  ["plain HTML, for my wedding", "static", "Wedding", "rose"],
  ["a Next.js page for a farm\nStarter: astro", "astro", "Farm", "garden"],
  ["a page for a farm\nStarter: cobol", "vite-react", "Farm", "garden"],
])("%s", (prompt, starter, title, palette) => {
  const wish = wishOf(prompt);
  expect([wish.starter, wish.title, wish.palette.name]).toEqual([starter, title, palette]);
});

test("sections come from the prompt, or are the usual ones of the trade", () => {
  expect(wishOf("a site with sections: music, dates and shop").sections).toEqual(["Music", "Dates", "Shop"]);
  expect(wishOf("a page for a pizzeria").sections).toEqual(["Menu", "Our story", "Opening hours", "Find us"]);
});

test.each(starterNames)("a title is no code in the starter %s", (starter) => {
  const wish = { ...wishOf("x"), starter, title: `</h1><script>alert(1)</script>{process.exit()}"` };
  for (const [path, text] of Object.entries(filesOf(wish))) {
    if (path === "package.json") expect(JSON.parse(text)).toMatchObject({ private: true });
    // In a string of the language it is text.
    const code = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
    if (/\.(html|astro|jsx|js)$/.test(path)) expect(code, path).not.toMatch(/alert\(1\)<|\{process/);
  }
});

test.each([
  ["a landing page for a bakery", "Bakery", "bakery"],
  ["Build “Café Zürich”, please", "Café Zürich", "cafe-zurich"],
  ["🚀", "Project", "project"],
  ["a the of", "A the of", "a-the-of"],
])("%s names a project", (prompt, name, slug) => {
  expect(nameFromPrompt(prompt)).toBe(name);
  expect(slugFromName(name)).toBe(slug);
});

test("a taken slug gets a number", () => {
  const slugs = slugsLike("bakery");
  expect([slugs.next().value, slugs.next().value, slugs.next().value]).toEqual([
    "bakery",
    "bakery-2",
    "bakery-3",
  ]);
});
