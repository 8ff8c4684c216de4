/** Programs that are development servers by themselves, and with these words. */
const BARE =
  /^(?:npx\s+|bunx\s+|pnpm\s+exec\s+)?(?:vite|parcel|live-server|browser-sync)(?:\s+(?!build)\S+)*$/;
const DEVELOPMENT =
  /\b(?:(?:vite|astro|nuxt|nuxi|vitepress|docusaurus|vinxi|svelte-kit)\s+(?:dev|preview|serve)|(?:next|remix|react-router|wrangler|netlify|vercel)\s+dev|react-scripts\s+start|docusaurus\s+start|ng\s+serve|vue-cli-service\s+serve|webpack(?:-dev-server|\s+serve)|gatsby\s+(?:develop|serve)|eleventy\s+--serve|vite\s+--\S+)/;

/** Why a start script isn't what serves visitors; null: it may be. */
export function notForVisitors(script: string): string | null {
  const text = script.replace(/^(?:[A-Z_]+=\S+\s+|cross-env\s+)+/, "").trim();
  const name = DEVELOPMENT.exec(text)?.[0] ?? (BARE.test(text) ? text.split(/\s+/)[0] : undefined);
  return name === undefined ? null : `\`${name}\` is a server for development`;
}
