import { createServer } from "node:http";

const version = process.env["VERSION"] ?? "dev";
const host = process.env["HOST"] ?? "127.0.0.1";

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? "/", "http://localhost");
  if (pathname === "/healthz") answer(200, "text/plain", "ok\n");
  else if (pathname === "/version") answer(200, "text/plain", `${version}\n`);
  else if (pathname === "/") answer(200, "text/html", page());
  else answer(404, "text/plain", "not found\n");

  function answer(status, type, body) {
    response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
    response.end(body);
  }
});

function page() {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>plain-http ${version}</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 20vh auto; padding: 0 1.5rem; }</style>
<h1>plain-http</h1>
<p>This is version <strong id="version">${version}</strong>. It knows nothing about deployments.</p>
</html>
`;
}

server.listen(Number(process.env["PORT"] ?? 0), host, () => {
  const { port } = server.address();
  console.log(`plain-http ${version} listening on http://${host}:${port}`);
});

const stop = () => void server.close(() => process.exit(0));
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
