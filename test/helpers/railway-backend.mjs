// What runs as a service of the Railway stand-in: an app with the contract, made with the project's own sdk.
import { createServer } from "node:http";
import { attachSignalbox } from "../../sdk/node.ts";

const version = process.env.APP_VERSION ?? "";
const server = createServer((request, response) => {
  if (!request.url.startsWith("/_pulse")) console.log(`asked for ${request.url}`);
  if (request.url === "/env") return response.end(JSON.stringify(process.env));
  if (request.url === "/headers") return response.end(JSON.stringify(request.headers));
  response.end(`${version} ${process.env.PULSE_DEPLOYMENT_ID}`);
});
attachSignalbox(server);
console.log(`version ${version} listens`);
server.listen(Number(process.env.PORT), "127.0.0.1");
// Whoever is being answered gets the answer.
process.on("SIGTERM", () => server.close(() => process.exit(0)));
