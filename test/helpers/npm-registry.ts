import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import {
  createServer as createPlain,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer } from "node:https";
import { connect, type AddressInfo } from "node:net";
import { archive } from "./archive.ts";

const fixture = (name: string): string => new URL(`../fixtures/tls/${name}`, import.meta.url).pathname;

/** The certificate of {@link startRegistry}, which no system trusts. */
export const REGISTRY_CA = fixture("cert.pem");

export interface Registry {
  url: string;
  port: number;
  /** Paths that were asked for. */
  asked: string[];
  close(): Promise<void>;
}

/** An npm registry on loopback behind TLS, as a company has it: packages by `name@version`, each one's files. */
export async function startRegistry(packages: Record<string, Record<string, string>>): Promise<Registry> {
  const tarballs = new Map<string, Buffer>();
  for (const [key, files] of Object.entries(packages)) {
    const tree = Object.fromEntries(Object.entries(files).map(([name, file]) => [`package/${name}`, file]));
    tarballs.set(key, (await archive(tree)).data);
  }
  const asked: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const path = decodeURIComponent(request.url ?? "/");
    asked.push(path);
    const tarball = tarballs.get(/^\/(.+)\.tgz$/.exec(path)?.[1] ?? "");
    if (tarball !== undefined) return void response.end(tarball);
    const name = path.slice(1);
    const versions = Object.fromEntries(
      Object.entries(packages).flatMap(([key, files]) => {
        const at = key.lastIndexOf("@");
        if (key.slice(0, at) !== name) return [];
        const manifest = Object(JSON.parse(files["package.json"] ?? "{}"));
        const data = tarballs.get(key) ?? Buffer.alloc(0);
        const integrity = `sha512-${createHash("sha512").update(data).digest("base64")}`;
        return [[key.slice(at + 1), { ...manifest, dist: { tarball: `${url}/${key}.tgz`, integrity } }]];
      }),
    );
    const latest = Object.keys(versions).at(-1);
    if (latest === undefined) return void response.writeHead(404).end("{}");
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ name, "dist-tags": { latest }, versions }));
  };
  const [cert, key] = await Promise.all([readFile(REGISTRY_CA), readFile(fixture("key.pem"))]);
  const server = createServer({ cert, key }, answer);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const url = `https://localhost:${port}`;
  return { url, port, asked, close: () => close(server) };
}

export interface Proxy {
  url: string;
  /** Hosts that it was asked to connect to. */
  connected: string[];
  close(): Promise<void>;
}

/** The only way out of a company's network: a proxy on loopback, which takes every name for this machine. */
export async function startProxy(): Promise<Proxy> {
  const connected: string[] = [];
  const server = createPlain((_request, response) => response.writeHead(405).end());
  server.on("connect", (request, client, head: Buffer) => {
    connected.push(request.url ?? "");
    const upstream = connect(Number(request.url?.split(":")[1]), "127.0.0.1", () => {
      client.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on("error", () => client.destroy());
    client.on("error", () => upstream.destroy());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, connected, close: () => close(server) };
}

async function close(server: Pick<Server, "close" | "closeAllConnections">): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
