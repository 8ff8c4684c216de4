import { constants } from "node:fs";
import { access, chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConfinementLevel, HostedConfinement } from "../../functions/protocol/runner-api.ts";
import { SettingError } from "../config.ts";
import { AllowListProxy } from "./allow-list-proxy.ts";
import { type Confinement, noConfinement } from "./confinement.ts";
import { giveTree, GuestUsers, sweepFilesOf } from "./guest-users.ts";
import type { ConfinementSettings } from "./settings.ts";
import { Ways } from "./ways.ts";
import { wrapped } from "./launch.ts";
import { findProgram, neededPaths, ownLoopbackPorts } from "./programs.ts";
import { findFault } from "./prove.ts";
import {
  asUser,
  NAME_SERVER,
  passwdOf,
  sandboxCommand,
  type SandboxOptions,
  SHORT_TMPDIR,
} from "./sandbox.ts";

/** Of all proofs of a start: whoever waits for the runner gives up after a minute. */
const PROOFS_LIMIT_MS = 45_000;
/** Of one, so that there is time for the next weaker one. It takes a second, and ten times that on a busy machine. */
const PROOF_LIMIT_MS = 20_000;

/** What pasta joins a guest's network with. */
const TUN = "/dev/net/tun";

/** Whose files these are, and where the runner keeps its own. */
export interface ConfinementPlace {
  workspace: string;
  /** Of the runner, for what guests see in place of the machine's files. */
  directory: string;
  inherit: readonly string[];
  /** Of the way from agents to their vendors. */
  gatewayPort?: number;
  /** Of the package cache. */
  packagesPort?: number;
}

/**
 * Tries from the strongest down what was asked for. Throws {@link SettingError} rather than give less than that; of
 * `auto`, it says why it isn't more.
 */
export async function openConfinement(
  settings: ConfinementSettings,
  place: ConfinementPlace,
): Promise<Confinement> {
  const { level, allowed, sharesNetwork } = settings;
  const faults: string[] = [];
  const proxy = allowed === null ? null : await AllowListProxy.listen(allowed);
  const deadline = performance.now() + PROOFS_LIMIT_MS;
  const wanted = (one: ConfinementLevel): boolean => level === "auto" || level === one;
  await mkdir(place.directory, { recursive: true });
  await chmod(place.directory, 0o711);
  if (wanted("sandbox")) {
    if (sharesNetwork) faults.push("own network: RUNNER_GUEST_NETWORK=shared");
    for (const network of sharesNetwork ? (["shared"] as const) : (["own", "shared"] as const)) {
      if (network === "shared" && proxy !== null) continue;
      const found = await trySandbox(settings, place, network, proxy, { faults, deadline });
      if (found !== null) return found;
    }
  }
  await proxy?.close();
  if (proxy !== null)
    throw new SettingError(
      `RUNNER_GUEST_NETWORK lists hosts, which takes a sandbox with a network of its own: ${faults.join("; ")}.`,
    );
  if (wanted("user")) {
    const found = await tryUser(settings, place, { faults, deadline });
    if (found !== null) return found;
  }
  if (level === "auto" || level === "none") return noConfinement(faults.join("; ") || null);
  throw new SettingError(`RUNNER_CONFINEMENT=${level} can't be had on this host: ${faults.join("; ")}.`);
}

interface Attempt {
  /** Of what was tried before. */
  faults: string[];
  /** On the monotonic clock. */
  deadline: number;
}

async function trySandbox(
  settings: ConfinementSettings,
  place: ConfinementPlace,
  network: "own" | "shared",
  proxy: AllowListProxy | null,
  { faults, deadline }: Attempt,
): Promise<Confinement | null> {
  const [bwrap, pasta, setpriv, unshare] = ["bwrap", "pasta", "setpriv", "unshare"].map((name) =>
    findProgram(name),
  );
  if (process.platform !== "linux") return refuse(faults, "sandbox: only Linux has what it takes");
  if (!bwrap || !setpriv || !unshare) return refuse(faults, "sandbox: install bubblewrap and util-linux");
  if (network === "own" && !pasta)
    return refuse(faults, "own network: install pasta (Debian's package passt)");
  // Without it pasta waits for ever.
  if (network === "own" && !(await isOpenToUs(TUN)))
    return refuse(faults, `own network: ${TUN} must be there, and open to the runner's user`);
  const isRoot = process.getuid?.() === 0;
  const options: SandboxOptions = {
    tools: { bwrap, setpriv, unshare, pasta: network === "own" ? (pasta ?? null) : null },
    isRoot,
    files: place.directory,
    readable: [...settings.paths, ...neededPaths(place.inherit, place.workspace)],
    isOpen: proxy === null,
  };
  const ports = [
    ...settings.ports,
    ...ownLoopbackPorts(place.inherit),
    ...(proxy === null ? [] : [proxy.port]),
  ];
  const ways =
    network === "own"
      ? await Ways.open(join(place.directory, "ways"), {
          ports: [...new Set(ports)],
          gateway: place.gatewayPort,
          packages: place.packagesPort,
          perl: settings.usesPerl ? findProgram("perl") : null,
        })
      : null;
  await writeFiles(place.directory, options.isOpen);
  const status: HostedConfinement = {
    level: "sandbox",
    network,
    allowed: settings.allowed,
    why: faults.join("; ") || null,
  };
  const users = isRoot ? await GuestUsers.open(settings.users) : null;
  const sandbox: Confinement = {
    ...withUsers(users, place.directory),
    status,
    ...(ways === null
      ? {}
      : { publish: (port) => ways.publish(port), wayTo: (port) => ways.wayTo(port), ports: new Set(ports) }),
    confine: (guest) => (command) =>
      wrapped(
        sandboxCommand(options, guest, ways?.beside(guest.port, guest)),
        {
          ...command,
          env: {
            ...command.env,
            ...(guest.temporary === undefined ? {} : { TMPDIR: SHORT_TMPDIR }),
            ...proxy?.environment,
          },
        },
        { umask: isRoot ? "007" : "022", isFirst: true },
      ),
    close: async () => {
      users?.close();
      await ways?.close();
      await proxy?.close();
    },
  };
  const fault = await prove(sandbox, place.directory, deadline);
  if (fault === null) return sandbox;
  users?.close();
  await ways?.close();
  const what = network === "own" ? "own network" : "sandbox";
  return refuse(faults, `${what}: ${fault}${remedy(network, fault)}`);
}

async function tryUser(
  settings: ConfinementSettings,
  place: ConfinementPlace,
  { faults, deadline }: Attempt,
): Promise<Confinement | null> {
  const setpriv = findProgram("setpriv");
  if (process.getuid?.() !== 0) return refuse(faults, "user: the runner isn't root");
  if (setpriv === null) return refuse(faults, "user: install setpriv (package util-linux)");
  const users = await GuestUsers.open(settings.users);
  const status: HostedConfinement = {
    level: "user",
    network: "shared",
    allowed: null,
    why: faults.join("; ") || null,
  };
  const confinement: Confinement = {
    ...withUsers(users, place.directory),
    status,
    confine:
      ({ user }) =>
      (command) => {
        if (user === null) throw new Error("A guest without a user can't be started.");
        return wrapped(asUser(setpriv, user), command, { umask: "007", isFirst: false });
      },
    close: () => Promise.resolve(users.close()),
  };
  const fault = await prove(confinement, place.directory, deadline);
  if (fault === null) return confinement;
  users.close();
  return refuse(
    faults,
    `user: ${fault}: WORKSPACE_ROOT and the programs on PATH must be where every user may go, which a home isn't`,
  );
}

function withUsers(
  users: GuestUsers | null,
  files: string,
): Pick<Confinement, "admit" | "dismiss" | "give" | "ownsUser" | "ports" | "publish" | "wayTo"> {
  if (users === null) {
    return noConfinement();
  }
  return {
    ...noConfinement(),
    async admit(key, before) {
      const user = await users.assign(key, before);
      await writeFile(
        passwdOf(files, { user }),
        `root:x:0:0::/:/bin/sh\nguest:x:${user.uid}:${user.gid}::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n`,
      );
      return user;
    },
    ownsUser: (uid) => users.owns(uid),
    async dismiss(key) {
      const user = users.release(key);
      if (user === null) return;
      await sweepFilesOf(user.uid);
      await rm(passwdOf(files, { user }), { force: true });
    },
    async give(path, user, whose) {
      if (user === null) return;
      if (whose === "guest") await giveTree(path, user, 0o700);
      else if (whose === "app") await giveTree(path, { uid: 0, gid: user.gid }, 0o2770);
      else await giveTree(path, { uid: 0, gid: 0 }, 0o755);
    },
  };
}

async function prove(confinement: Confinement, directory: string, deadline: number): Promise<string | null> {
  const limitMs = Math.min(PROOF_LIMIT_MS, Math.ceil(deadline - performance.now()));
  if (limitMs <= 0) return "no time was left to prove it";
  const user = await confinement.admit("probe/probe", null);
  const fault = await findFault(confinement, directory, user, limitMs);
  if (user !== null) await confinement.dismiss("probe/probe");
  return fault;
}

function isOpenToUs(path: string): Promise<boolean> {
  return access(path, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false, // not there, or not ours: the same to pasta
  );
}

/** What guests see in place of the machine's. */
async function writeFiles(directory: string, isOpen: boolean): Promise<void> {
  const machine = await readFile("/etc/resolv.conf", "utf8").catch(() => ""); // names aren't asked for here
  const kept = machine.split("\n").filter((line) => /^(?:search|options)\s/.test(line));
  const own = process.getuid?.() ?? 0;
  const group = process.getgid?.() ?? 0;
  const files = {
    // One address: a server that listens on "localhost" is reached by IPv4.
    hosts: "127.0.0.1 localhost guest\n::1 ip6-localhost ip6-loopback\n",
    "resolv.conf": isOpen ? [`nameserver ${NAME_SERVER}`, ...kept, ""].join("\n") : "",
    passwd: `root:x:0:0::/:/bin/sh\nguest:x:${own}:${group}::/:/bin/sh\n`,
    group: "root:x:0:\nguest:x:" + group + ":\n",
  };
  for (const [name, text] of Object.entries(files))
    await writeFile(join(directory, name), text, { mode: 0o644 });
}

function remedy(network: "own" | "shared", fault: string): string {
  if (/namespace|uid map|Operation not permitted/i.test(fault))
    return (
      " (allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, " +
      "kernel.apparmor_restrict_unprivileged_userns=0; in a container see docs/operations.md)"
    );
  return network === "own" && /tun/i.test(fault) ? " (/dev/net/tun must be there, for everybody)" : "";
}

function refuse(faults: string[], fault: string): null {
  faults.push(fault);
  return null;
}
