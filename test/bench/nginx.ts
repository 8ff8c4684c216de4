import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../scripts/local/free-port.ts";
import { GuardedProcess } from "../../scripts/local/guarded-process.ts";

export interface Nginx {
  /** Answers 200 with a short body, as fast as this machine can. */
  backendPort: number;
  /** A plain reverse proxy to the backend, with kept-alive connections. */
  proxyPort: number;
  /** Another one, to whatever listens on `remotePort` by then. */
  remoteProxyPort: number;
  remotePort: number;
  /** Starts another such backend on the port in PORT; what `/big` answers is a file of {@link BIG_BYTES}. */
  backendCommand: string;
  stop(): Promise<void>;
}

/** Zeros: long enough to be measured, short enough for the page cache. */
export const BIG_BYTES = 256 * 1024 * 1024;

/** nginx (Debian's package) as the backend of all candidates, and as one candidate itself. */
export async function startNginx(): Promise<Nginx> {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-nginx-"));
  const backendPort = await freePort();
  const proxyPort = await freePort();
  const remoteProxyPort = await freePort();
  const remotePort = await freePort();
  const configFile = join(directory, "nginx.conf");
  const templateFile = join(directory, "template.conf");
  const big = await open(join(directory, "big"), "w");
  await big.truncate(BIG_BYTES);
  await big.close();
  const common = (pid: string): string => `daemon off; master_process off; worker_processes 1;
pid ${directory}/${pid}; error_log stderr crit;
events { worker_connections 2048; }
http {
  access_log off; keepalive_requests 1000000; keepalive_timeout 300s; sendfile on;
  client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;`;
  const backend = (port: string): string => `server { listen 127.0.0.1:${port} backlog=1024;
    location / { default_type text/plain; return 200 "hello from the backend\\n"; }
    location = /big { root ${directory}; } }`;
  const proxy = (name: string, port: number, target: number): string => `
  upstream ${name} { server 127.0.0.1:${target}; keepalive 256; keepalive_requests 1000000; }
  server { listen 127.0.0.1:${port} backlog=1024;
    location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_pass http://${name}; } }`;
  await writeFile(templateFile, `${common("template.pid")} ${backend("@PORT@")} }\n`);
  await writeFile(
    configFile,
    `${common("pid")} ${backend(String(backendPort))}
${proxy("backend", proxyPort, backendPort)} ${proxy("remote", remoteProxyPort, remotePort)} }\n`,
  );
  const guarded = new GuardedProcess("nginx", ["-c", configFile, "-p", directory], {
    env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
  });
  await answering(`http://127.0.0.1:${proxyPort}/`);
  return {
    backendPort,
    proxyPort,
    remoteProxyPort,
    remotePort,
    backendCommand: `sed "s/@PORT@/$PORT/" "${templateFile}" > nginx.conf
PATH="$PATH:/usr/sbin" exec nginx -c "$PWD/nginx.conf" -p "$PWD"`,
    async stop() {
      await guarded.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function answering(url: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await (await fetch(url)).arrayBuffer();
      return;
    } catch (error) {
      if (attempt > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
