import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { ownCommand } from "../processes/own-program.ts";
import type { Confinement, GuestUser } from "./confinement.ts";
import { giveTree } from "./guest-users.ts";
import { quoted, withoutWrappers } from "./launch.ts";

/** On a busy machine an attempt under Deno hung; the next one is answered. */
const ATTEMPT_MS = 2_000;
/** A hundredth of a second on an idle machine; a second among ten times as many programs as it has cores. */
const TRANSFER_BYTES = 16 * 1024 ** 2;
const TRANSFER_LIMIT_MS = 10_000;
const SECRET = "the runner's\n";

/** Writes a line for each fault, and at last which namespaces it is in. */
const script = (secret: string): string => `
cat '${secret}' 2>/dev/null && echo "it can read the runner's files"
(: > '${secret}') 2>/dev/null
(: > written) 2>/dev/null || echo "it can't write in its own directory"
[ "$GREETING" = "it's here" ] || echo "its variables don't arrive"
while read -r name value _; do
  case "$name$value" in
    CapEff:*[1-9a-f]*) echo "it has capabilities" ;;
    NoNewPrivs:0) echo "it can gain privileges" ;;
  esac
done < /proc/self/status
'${process.execPath}' --version > /dev/null 2>&1 || echo "it can't run ${process.execPath}"
for space in pid net; do readlink /proc/self/ns/$space; done
`;

/**
 * Does what guests will do, and tries what they mustn't. Answers what is wrong, or null: then this host offers it.
 * A host's settings say less than that: a container may forbid what its kernel allows. What isn't proved when the time is up
 * isn't offered, and the answer says that it was the time.
 */
export async function findFault(
  confinement: Confinement,
  directory: string,
  user: GuestUser | null,
  limitMs: number,
): Promise<string | null> {
  const end = AbortSignal.timeout(limitMs);
  const late = (what: string): string =>
    `${what} within ${Math.round(limitMs / 1_000)} s, which a machine with much else to do may take; start the runner again then`;
  const place = await mkdtemp(join(directory, "probe-"));
  try {
    const work = join(place, "work");
    await mkdir(work, { mode: 0o700 });
    await chmod(place, 0o711);
    const secret = join(place, "secret");
    await writeFile(secret, SECRET, { mode: 0o600 });
    if (user !== null) await giveTree(work, user, 0o700);
    const launch = confinement.confine({ writable: [work], readable: [], port: null, user })({
      command: script(secret),
      cwd: work,
      env: { PATH: process.env["PATH"] ?? "", GREETING: "it's here" },
    });
    const { file, args, input, ...options } = launch;
    const child = spawn(file, args, { ...options, detached: true });
    child.stdin.on("error", () => undefined); // it ended before it read: its output says why
    child.stdin.end(input);
    const giveUp = (): void => endGroup(child);
    end.addEventListener("abort", giveUp);
    const [output, errors] = await Promise.all([
      text(child.stdout),
      text(child.stderr.pipe(withoutWrappers())),
      child.exitCode === null && child.signalCode === null ? once(child, "exit") : null,
    ]);
    end.removeEventListener("abort", giveUp);
    if (end.aborted) return late("a guest wasn't done");
    if ((await readFile(secret, "utf8")) !== SECRET) return "it can write the runner's files";
    const fault = await judge(output, errors, confinement);
    if (fault !== null || confinement.status.network === "shared") return fault;
    return await findStandstill(confinement, work, user, end, late);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

async function judge(output: string, errors: string, { status }: Confinement): Promise<string | null> {
  const lines = output.trim().split("\n");
  const [pid, net] = lines.splice(-2);
  if (pid?.startsWith("pid:") !== true || net === undefined)
    return errors.trim().split("\n").at(-1) || "it ends at once";
  if (lines.length > 0) return lines.join(", ");
  const [ownPid, ownNet] = await Promise.all(
    ["pid", "net"].map((space) => readlink(`/proc/self/ns/${space}`)),
  );
  if (status.level === "sandbox" && pid === ownPid) return "it shares the runner's processes";
  if (status.network === "own" && net === ownNet) return "it shares the runner's network";
  return null;
}

/** A guest serves a large file, as its pages and its downloads are. A network may take connections and move nothing. */
async function findStandstill(
  confinement: Confinement,
  work: string,
  user: GuestUser | null,
  end: AbortSignal,
  late: (what: string) => string,
): Promise<string | null> {
  const file = join(work, "large");
  await writeFile(file, Buffer.alloc(TRANSFER_BYTES, "signalbox"), { mode: 0o644 });
  await writeFile(join(work, "index.html"), "", { mode: 0o644 });
  const port = await freePort();
  const publication = await confinement.publish(port);
  const { input, args, ...launch } = confinement.confine({ writable: [work], readable: [], port, user })({
    command: `exec ${[...ownCommand(), "static", work].map(quoted).join(" ")}`,
    cwd: work,
    env: { PATH: process.env["PATH"] ?? "", HOST: "127.0.0.1", PORT: String(port), HOME: work },
  });
  const server = spawn(launch.file, args, { ...launch, detached: true, stdio: ["pipe", "ignore", "pipe"] });
  const ended = new AbortController();
  server.once("exit", () => ended.abort());
  server.stdin.on("error", () => undefined); // it ended before it read: its errors say why
  server.stdin.end(input);
  const errors = text(server.stderr.pipe(withoutWrappers()));
  const signal = AbortSignal.any([end, ended.signal]);
  try {
    while (
      !(await fetch(`http://127.0.0.1:${port}/`, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(ATTEMPT_MS)]),
      }).then(
        async (answer) => (await answer.arrayBuffer(), answer.ok),
        () => false,
      ))
    ) {
      if (end.aborted) return late("what it serves wasn't there");
      if (ended.signal.aborted) return (await errors).trim().split("\n").at(-1) || "it can't serve";
      await sleep(20);
    }
    const limit = AbortSignal.any([signal, AbortSignal.timeout(TRANSFER_LIMIT_MS)]);
    const { byteLength } = await fetch(`http://127.0.0.1:${port}/large`, { signal: limit }).then(
      (answer) => answer.arrayBuffer(),
      () => new ArrayBuffer(0),
    );
    if (byteLength === TRANSFER_BYTES) return null;
    if (end.aborted) return late(`${TRANSFER_BYTES / 1024 ** 2} MiB weren't through`);
    return `${TRANSFER_BYTES / 1024 ** 2} MiB stood still for ${TRANSFER_LIMIT_MS / 1_000} s`;
  } finally {
    endGroup(server);
    await publication.close();
  }
}

/** With its wrappers: what is inside of them ends with the last of these. */
function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    return; // all of it is gone
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
