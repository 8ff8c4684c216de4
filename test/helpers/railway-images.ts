import type { Runnable } from "../../scripts/railway-stand-in/build.ts";

const node = (script: string): Runnable => ({ command: [process.execPath, "-e", script] });

/** What the stand-in runs for the images that tests name. */
export const IMAGES: Record<string, Runnable> = {
  /** Says its deployment, its variables, streams, and echoes over WebSockets. */
  "example/echo": node(`
    const http = require("node:http"), crypto = require("node:crypto");
    const server = http.createServer((request, answer) => {
      const { pathname } = new URL(request.url, "http://x");
      if (pathname === "/env") return answer.end(JSON.stringify(process.env));
      if (pathname === "/stream") {
        answer.write("first\\n");
        return request.on("data", (chunk) => answer.write(chunk)).on("end", () => answer.end());
      }
      answer.end(process.env.RAILWAY_DEPLOYMENT_ID);
    });
    server.on("upgrade", (request, socket, head) => {
      const accept = crypto.createHash("sha1")
        .update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
      socket.write("HTTP/1.1 101 Switching Protocols\\r\\nupgrade: websocket\\r\\nconnection: upgrade\\r\\n" +
        "sec-websocket-accept: " + accept + "\\r\\n\\r\\n");
      const id = process.env.RAILWAY_DEPLOYMENT_ID;
      socket.on("error", () => undefined);
      socket.on("data", () => socket.write(Buffer.concat([Buffer.from([0x81, id.length]), Buffer.from(id)])));
    });
    server.listen(process.env.PORT);
    console.log("listening");
    process.on("SIGTERM", () => { console.log("asked to end"); if (!process.env.STUBBORN) process.exit(0); });`),
  /** Never serves. */
  "example/deaf": node(`setInterval(() => undefined, 1000)`),
};
