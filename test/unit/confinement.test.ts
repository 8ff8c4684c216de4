import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import { mkdtemp, mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, onTestFinished, test, vi } from "vitest";
import { AllowListProxy, isAllowed } from "../../runner/confinement/allow-list-proxy.ts";
import { exitInside, withoutWrappers, wrapped } from "../../runner/confinement/launch.ts";
import { type Confinement, noConfinement } from "../../runner/confinement/confinement.ts";
import { neededPaths } from "../../runner/confinement/programs.ts";
import { findFault } from "../../runner/confinement/prove.ts";
import { outermost } from "../../runner/confinement/sandbox.ts";

test.each<[host: string, port: number, allowed: boolean]>([
  ["example.com", 443, true],
  ["EXAMPLE.com.", 80, true],
  ["example.com", 22, false],
  ["a.example.com", 443, false],
  ["a.b.example.org", 443, true],
  ["example.org", 443, false],
  ["evilexample.org", 443, false],
  ["example.net", 8443, true],
  ["example.net", 443, false],
])("%s at port %i is allowed: %s", (host, port, allowed) => {
  expect(isAllowed(host, port, ["example.com", "*.example.org", "example.net:8443"])).toBe(allowed);
});

test("the proxy leads to what is listed, and to this machine only by an address that is listed", async (context) => {
  const server = createServer((_, response) => response.end("reached"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const proxy = await AllowListProxy.listen([`127.0.0.1:${port}`, `localhost:${port}`, "example.com"]);
  context.onTestFinished(async () => {
    server.close();
    await proxy.close();
  });
  const ask = async (path: string): Promise<[status: number | undefined, body: string]> => {
    const asked = request({ host: "127.0.0.1", port: proxy.port, path, agent: false }).end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    return [answer.statusCode, await text(answer)];
  };
  const connect = async (path: string): Promise<number | undefined> => {
    const asked = request({ host: "127.0.0.1", port: proxy.port, method: "CONNECT", path }).end();
    const [answer, socket] = (await once(asked, "connect")) as [IncomingMessage, Socket];
    socket.destroy();
    return answer.statusCode;
  };
  expect(await ask(`http://127.0.0.1:${port}/`)).toEqual([200, "reached"]);
  expect(await connect(`127.0.0.1:${port}`)).toBe(200);
  // A name that leads here, as any host's owner could have it.
  expect((await ask(`http://localhost:${port}/`))[0]).toBe(403);
  expect(await connect(`localhost:${port}`)).toBe(403);
  expect((await ask("http://elsewhere.test/"))[0]).toBe(403);
  expect(await connect("example.com:22")).toBe(403);
});

test("a guest's variables and command reach it whole, and no wrapper by its environment or arguments", () => {
  const odd = `a'b "c" $d \`e\`\n\\`;
  const { args, env, input } = wrapped(
    ["/usr/bin/wrap", "--"],
    { command: "echo 'hi'", cwd: "/it's", env: { LD_PRELOAD: "/evil.so", ODD: odd } },
    { umask: "022", isFirst: false },
  );
  expect(JSON.stringify([args, env])).not.toMatch(/evil|ODD/);
  expect(input).toContain("'LD_PRELOAD=/evil.so'");
  expect(input).toContain("cd '/it'\\''s' || exit 126; exec /usr/bin/env -i");
});

test("what wrappers say is shown only if the guest never begins", async () => {
  const begun = withoutWrappers();
  begun.end("wrapper's warning\n\x1eguest's own\n");
  expect(await text(begun)).toBe("guest's own\n");
  const failed = withoutWrappers();
  failed.end("bwrap: no namespace\n");
  expect(await text(failed)).toBe("bwrap: no namespace\n");
});

test.each([
  [
    { code: 0, signal: null },
    { code: 0, signal: null },
  ],
  [
    { code: 3, signal: null },
    { code: 3, signal: null },
  ],
  [
    { code: 137, signal: null },
    { code: null, signal: "SIGKILL" },
  ],
  [
    { code: 255, signal: null },
    { code: 255, signal: null },
  ],
  [
    { code: null, signal: "SIGTERM" },
    { code: null, signal: "SIGTERM" },
  ],
])("a wrapper's exit %j is %j inside", (outside, inside) => {
  expect(exitInside(outside)).toEqual(inside);
});

test("a mount inside another one isn't made", () => {
  expect(outermost(["/a/b", "/a", "/ab", "relative", "/a"])).toEqual(["/a", "/ab"]);
});

test("a guest sees what the programs on the runner's PATH are made of, and nothing else of its home", async (context) => {
  const home = await mkdtemp(join(tmpdir(), "signalbox-home-"));
  context.onTestFinished(async () => {
    vi.unstubAllEnvs();
    await rm(home, { recursive: true });
  });
  const at = (path: string): string => join(home, path);
  for (const path of [
    ".pyenv/shims/python3",
    ".volta/bin/node-of-volta",
    ".npm-global/bin/tool",
    ".npm-global/lib/node_modules/tool/tool.js",
    ".local/share/claude/versions/2",
    ".ssh/id",
  ]) {
    await mkdir(dirname(at(path)), { recursive: true });
    await writeFile(at(path), "");
  }
  await mkdir(at(".local/bin"));
  await symlink(at(".local/share/claude/versions/2"), at(".local/bin/claude"));
  await symlink(at("nowhere"), at(".local/bin/broken"));
  vi.stubEnv("HOME", home);
  vi.stubEnv("PATH", [".pyenv/shims", ".volta/bin", ".npm-global/bin", ".local/bin"].map(at).join(":"));
  expect(outermost(neededPaths([], at("workspace"))).filter((path) => path.startsWith(home))).toEqual(
    [
      ".local/bin",
      ".local/share/claude/versions/2",
      ".npm-global/bin",
      ".npm-global/lib/node_modules",
      ".pyenv",
      ".volta",
    ].map(at),
  );
});

test("a proof that isn't over in time says so, and nothing of it stays", async () => {
  const directory = await mkdtemp(join(tmpdir(), "signalbox-proof-"));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const mark = `300.${process.pid}`;
  const hangs: Confinement = {
    ...noConfinement(),
    // Not by `exec`: what a wrapper has started is to end, too.
    confine: () => () => ({
      file: "/bin/sh",
      args: ["-c", `sleep ${mark}; :`],
      cwd: "/",
      env: {},
      input: "",
    }),
  };
  const startedAt = performance.now();
  expect(await findFault(hangs, directory, null, 300)).toMatch(
    /^a guest wasn't done within .* start the runner again/,
  );
  expect(performance.now() - startedAt).toBeLessThan(10_000);
  expect(spawnSync("pgrep", ["-f", `^sleep ${mark}`]).status).toBe(1);
  expect(await readdir(directory)).toEqual([]);
});
