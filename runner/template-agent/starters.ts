import type { StarterName, Wish } from "./wish.ts";

/** Paths and texts of a starter's files. Versions are those that the tests run. */
export function filesOf(wish: Wish): Record<string, string> {
  return { ...makers[wish.starter](wish), "README.md": readme(wish) };
}

const REACT = { react: "19.3.1", "react-dom": "19.3.1" };
const VITE = { "@vitejs/plugin-react": "6.3.0", vite: "8.3.8" };

const makers: Record<StarterName, (wish: Wish) => Record<string, string>> = {
  static: (wish) => ({
    "index.html": `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>${html(wish.title)}</title>
    <link rel="stylesheet" href="style.css" />
  </head>
  <body>
    <main>
${page(wish, "      ", "class")}
    </main>
  </body>
</html>
`,
    "style.css": css(wish),
  }),
  "vite-react": (wish) => ({
    "package.json": manifest(wish, { dev: "vite", build: "vite build" }, REACT, VITE),
    "vite.config.js": `import react from "@vitejs/plugin-react";\n\nexport default { plugins: [react()] };\n`,
    "index.html": `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>${html(wish.title)}</title>
  </head>
  <body>
    <div id="root"></div>
    <script type="module" src="/src/main.jsx"></script>
  </body>
</html>
`,
    "src/main.jsx": `import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";
import "./style.css";

createRoot(document.getElementById("root")).render(<App />);
`,
    "src/App.jsx": `export function App() {\n  return (\n    <main>\n${page(wish, "      ", "className")}\n    </main>\n  );\n}\n`,
    "src/style.css": css(wish),
  }),
  next: (wish) => ({
    "package.json": manifest(
      wish,
      { dev: "next dev", build: "next build", start: "next start" },
      { next: "16.4.5", ...REACT },
    ),
    "app/layout.jsx": `import "./style.css";

export const metadata = { title: ${JSON.stringify(wish.title)} };

export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
`,
    "app/page.jsx": `export default function Page() {\n  return (\n    <main>\n${page(wish, "      ", "className")}\n    </main>\n  );\n}\n`,
    "app/style.css": css(wish),
  }),
  astro: (wish) => ({
    "package.json": manifest(wish, { dev: "astro dev", build: "astro build" }, { astro: "7.3.5" }),
    "src/pages/index.astro": `---
import "../style.css";
---

<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width" />
    <title>${html(wish.title)}</title>
  </head>
  <body>
    <main>
${page(wish, "      ", "class")}
    </main>
  </body>
</html>
`,
    "src/style.css": css(wish),
  }),
  "tanstack-start": (wish) => ({
    "package.json": manifest(
      wish,
      { dev: "vite dev", build: "vite build" },
      {
        "@tanstack/react-router": "1.170.43",
        "@tanstack/react-start": "1.169.0",
        nitro: "3.0.260903-beta",
        ...REACT,
      },
      VITE,
    ),
    "vite.config.js": `import { tanstackStart } from "@tanstack/react-start/plugin/vite";
import react from "@vitejs/plugin-react";
import { nitro } from "nitro/vite";

export default { plugins: [tanstackStart(), react(), nitro()] };
`,
    "src/router.jsx": `import { createRouter } from "@tanstack/react-router";
import { routeTree } from "./routeTree.gen.ts";

export const getRouter = () => createRouter({ routeTree });
`,
    "src/routes/__root.jsx": `import { createRootRoute, HeadContent, Outlet, Scripts } from "@tanstack/react-router";
import style from "../style.css?url";

export const Route = createRootRoute({
  head: () => ({
    meta: [{ charSet: "utf-8" }, { title: ${JSON.stringify(wish.title)} }],
    links: [{ rel: "stylesheet", href: style }],
  }),
  component: () => (
    <html lang="en">
      <head>
        <HeadContent />
      </head>
      <body>
        <Outlet />
        <Scripts />
      </body>
    </html>
  ),
});
`,
    "src/routes/index.jsx": `import { createFileRoute } from "@tanstack/react-router";

function Home() {\n  return (\n    <main>\n${page(wish, "      ", "className")}\n    </main>\n  );\n}

export const Route = createFileRoute("/")({ component: Home });
`,
    "src/style.css": css(wish),
  }),
  "hono-api": (wish) => ({
    "package.json": manifest(
      wish,
      { dev: "node --watch server.js", start: "node server.js" },
      { hono: "4.13.19", "@hono/node-server": "2.1.8" },
    ),
    "server.js": `import { serve } from "@hono/node-server";
import { Hono } from "hono";

const app = new Hono();
const items = new Map();

app.get("/", (c) => c.json({ name: ${JSON.stringify(wish.title)}, resources: ["/items"] }));
app.get("/items", (c) => c.json({ items: [...items.values()] }));
app.post("/items", async (c) => {
  const item = { ...(await c.req.json()), id: String(items.size + 1) };
  items.set(item.id, item);
  return c.json(item, 201);
});
app.get("/items/:id", (c) => {
  const item = items.get(c.req.param("id"));
  return item ? c.json(item) : c.json({ error: "There is no such item." }, 404);
});

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000), hostname: process.env.HOST ?? "127.0.0.1" });
`,
  }),
};

function manifest(
  wish: Wish,
  scripts: Record<string, string>,
  dependencies: Record<string, string>,
  devDependencies?: Record<string, string>,
): string {
  const name =
    wish.title
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "") || "project";
  return `${JSON.stringify({ name, private: true, type: "module", scripts, dependencies, devDependencies }, null, 2)}\n`;
}

/** `attribute`: how this language spells `class`. */
function page({ title, sections }: Wish, indent: string, attribute: "class" | "className"): string {
  const lines = [
    `<header ${attribute}="hero">`,
    `  <h1>${html(title)}</h1>`,
    "</header>",
    ...sections.flatMap((section) => [
      "<section>",
      `  <h2>${html(section)}</h2>`,
      `  <p>This is where ${html(section.toLowerCase())} goes.</p>`,
      "</section>",
    ]),
  ];
  return lines.map((line) => indent + line).join("\n");
}

function css({ palette: { paper, ink, accent } }: Wish): string {
  return `:root {
  --paper: ${paper};
  --ink: ${ink};
  --accent: ${accent};
}

body {
  margin: 0;
  background: var(--paper);
  color: var(--ink);
  font: 1.0625rem/1.6 system-ui, sans-serif;
}

main {
  max-width: 60rem;
  margin: 0 auto;
  padding: 0 1.5rem 4rem;
}

.hero {
  padding: 5rem 0 3rem;
  border-bottom: 4px solid var(--accent);
}

h1 {
  margin: 0;
  font-size: clamp(2.25rem, 7vw, 4rem);
  line-height: 1.1;
}

h2 {
  color: var(--accent);
}
`;
}

function readme({ title, starter }: Wish): string {
  return `# ${title}\n\nA starter (${starter}) that Signalbox's template agent made. No language model wrote it: an agent or you go on from here.\n`;
}

/** For HTML and JSX. */
function html(text: string): string {
  return text.replace(/[&<>"'{}]/g, (character) => `&#${character.charCodeAt(0)};`);
}
