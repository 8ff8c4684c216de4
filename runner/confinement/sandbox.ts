import { lstatSync, existsSync, readlinkSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import type { GuestPlace } from "./confinement.ts";

/** The programs that make a sandbox, by their places. */
export interface SandboxTools {
  bwrap: string;
  setpriv: string;
  unshare: string;
  /** Null: guests share the machine's network. */
  pasta: string | null;
}

export interface SandboxOptions {
  tools: SandboxTools;
  /** The runner is root: guests get system users. */
  isRoot: boolean;
  /** Files that stand for the machine's: `hosts`, `resolv.conf`, and `passwd`, `group` of the guests. */
  files: string;
  /** What every guest may read: programs, certificates. */
  readable: readonly string[];
  /** Whether there is a way to the outside, besides ports of this machine's loopback. */
  isOpen: boolean;
}

/** Where guests ask for names; pasta hands it on to the machine's own name server, which may be on loopback. */
export const NAME_SERVER = "169.254.1.1";
/** In memory, which is the runner's too. TMPDIR is on disk. */
const MEMORY_FILES_BYTES = 256 * 1024 ** 2;

/** A guest's temporary directory inside: programs put sockets there, whose paths have 107 bytes. */
export const SHORT_TMPDIR = "/var/tmp";

/** Directories of the root that distributions fill, most of them links into /usr today. */
const SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix"];
/** Of /etc, what programs need to run, to draw and to reach the outside. The rest may hold secrets. */
const ETC = [
  "alternatives",
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "localtime",
  "timezone",
  "os-release",
  "ssl",
  "ca-certificates",
  "pki",
  "crypto-policies",
  "nsswitch.conf",
  "host.conf",
  "gai.conf",
  "services",
  "protocols",
  "mime.types",
  "fonts",
  "chromium",
  "chromium.d",
  "java",
  "python3",
  "login.defs",
  "shells",
];

/** The one place where a guest's command line is made: what comes before its shell. */
export function sandboxCommand(
  options: SandboxOptions,
  place: GuestPlace,
  relay: readonly string[] = [],
): string[] {
  const { tools, isRoot } = options;
  const { user } = place;
  return [
    ...(tools.pasta === null ? [] : networkCommand(options, tools.pasta)),
    ...relay,
    tools.bwrap,
    // The runner's end is the sandbox's, and the end of its first process is that of all in it.
    "--die-with-parent",
    "--new-session",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--hostname",
    "guest",
    "--cap-drop",
    "ALL",
    // Root needs these to become the guest's user. Others need a namespace of users to make the rest; without the
    // ids the guest would be root in it.
    ...(isRoot
      ? ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
      : ["--unshare-user", "--uid", String(process.getuid?.()), "--gid", String(process.getgid?.())]),
    ...mounts(options, place),
    "--",
    ...(user === null ? [] : asUser(tools.setpriv, user)),
  ];
}

/** For good: no program with a set-user-ID bit leads back. */
export function asUser(setpriv: string, { uid, gid }: { uid: number; gid: number }): string[] {
  const ids = ["--reuid", String(uid), "--regid", String(gid), "--clear-groups"];
  return [setpriv, ...ids, "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"];
}

/** A network of its own, joined to the outside by a process that passes on connections. */
function networkCommand({ tools, isRoot, isOpen }: SandboxOptions, pasta: string): string[] {
  return [
    tools.setpriv,
    "--pdeathsig",
    "KILL",
    pasta,
    "--quiet",
    "--foreground",
    "--log-file",
    "/dev/null",
    // Root in the namespace of the machine's users, or else it couldn't enter the runner's directories.
    ...(isRoot ? ["--runas", "0", "--netns-only"] : []),
    // The gateway's address would otherwise be this machine's loopback.
    "--no-map-gw",
    "-u",
    "none",
    "-U",
    "none",
    // Without addresses and routes only the relay leads out.
    ...(isOpen ? ["--config-net", "--dns-forward", NAME_SERVER] : []),
    // Debian 12's version moves what goes between two loopbacks on once a second: our relay does that.
    "-t",
    "none",
    "-T",
    "none",
    "--",
    // Pasta's own namespace of processes has the machine's /proc, where bubblewrap looks for its child by number.
    tools.unshare,
    "--mount-proc",
    "--",
  ];
}

/** Every mount with its reason. Only what stands here exists inside. */
function mounts({ files, readable, tools }: SandboxOptions, place: GuestPlace): string[] {
  const own = outermost(place.writable);
  const shown = outermost([...readable, ...place.readable]).filter((path) => !isOfSystem(path));
  return [
    // Bubblewrap would make the ways to what follows for root alone.
    ...["/etc", "/run", "/var"].flatMap(way),
    // Programs and libraries.
    ...SYSTEM.flatMap(system),
    ...ETC.flatMap((name) => ["--ro-bind-try", `/etc/${name}`, `/etc/${name}`]),
    // Names of the guest's own network, or the machine's where that is shared.
    ...["hosts", "resolv.conf"].flatMap((name) => [
      "--ro-bind",
      tools.pasta === null ? `/etc/${name}` : join(files, name),
      `/etc/${name}`,
    ]),
    // Some programs refuse to be nobody. The machine's users are none of a guest's business.
    "--ro-bind",
    passwdOf(files, place),
    "/etc/passwd",
    "--ro-bind",
    join(files, "group"),
    "/etc/group",
    // Of its own processes; bubblewrap hides what of it is the machine's.
    "--proc",
    "/proc",
    // null, random and a terminal of its own; no disks.
    "--dev",
    "/dev",
    // Of its own, and bounded, since they are memory.
    ...["/dev/shm", "/tmp"].flatMap((path) => [
      "--perms",
      "1777",
      "--size",
      String(MEMORY_FILES_BYTES),
      "--tmpfs",
      path,
    ]),
    ...(place.temporary === undefined
      ? ["--symlink", "../tmp", SHORT_TMPDIR]
      : ["--bind", place.temporary, SHORT_TMPDIR]),
    // The ways to what follows.
    ...waysTo([...own, ...shown]).flatMap(way),
    // Programs of the runner's PATH, its certificates, and what this guest was given to read.
    ...shown.flatMap((path) => ["--ro-bind-try", path, path]),
    // Its own directories. None is inside another: a guest could put a link where a mount belongs.
    ...own.flatMap((path) => ["--bind", path, path]),
    // The rest of its root is memory too.
    "--remount-ro",
    "/",
  ];
}

export function passwdOf(files: string, { user }: Pick<GuestPlace, "user">): string {
  return join(files, user === null ? "passwd" : `passwd-${user.uid}`);
}

function system(path: string): string[] {
  if (!existsSync(path)) return [];
  return lstatSync(path).isSymbolicLink()
    ? ["--symlink", readlinkSync(path), path]
    : ["--ro-bind", path, path];
}

function way(path: string): string[] {
  return ["--perms", "0755", "--dir", path];
}

/** The directories that lead to these, each before what is in it. */
function waysTo(paths: readonly string[]): string[] {
  const ways = new Set<string>();
  for (const path of paths) {
    const parts = dirname(path).split("/").slice(1);
    for (const [index] of parts.entries()) ways.add(`/${parts.slice(0, index + 1).join("/")}`);
  }
  const made = [...SYSTEM, "/etc", "/dev", "/proc", "/tmp", "/run", "/var", "/"];
  return [...ways].filter((way) => !made.includes(way) && !isOfSystem(way));
}

/** Whether every guest sees it anyway, with the system's programs. */
export function isOfSystem(path: string): boolean {
  return SYSTEM.some((one) => isInside(path, one));
}

/** Without those that are inside another one. */
export function outermost(paths: readonly string[]): string[] {
  const all = [...new Set(paths)].filter((path) => isAbsolute(path));
  return all.filter((path) => !all.some((other) => other !== path && isInside(path, other))).toSorted();
}

export function isInside(path: string, directory: string): boolean {
  for (let at = dirname(path); ; at = dirname(at)) {
    if (at === directory) return true;
    if (at === "/" || at === ".") return false;
  }
}
