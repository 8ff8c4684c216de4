import { connect, createServer } from "node:net";

/** A server that a runner hosts, and that is elsewhere on this machine: `node pipe.mjs PORT`. */
createServer((near) => {
  const far = connect(Number(process.argv[2]), "127.0.0.1");
  near.on("error", () => far.destroy()).on("close", () => far.destroy());
  far.on("error", () => near.destroy()).on("close", () => near.destroy());
  near.pipe(far).pipe(near);
}).listen(Number(process.env["PORT"]), process.env["HOST"] ?? "127.0.0.1");
