import { delimiter } from "node:path";

/** The variable by which a process and everything it starts are known again. */
export const MARKER_VARIABLE = "SIGNALBOX_PROCESS";

/** How to find programs, and which language to speak. */
const PLACE = ["PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"];

/** Whom to trust. */
const TRUST = [
  "NODE_EXTRA_CA_CERTS",
  "NODE_USE_SYSTEM_CA",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "CURL_CA_BUNDLE",
  "REQUESTS_CA_BUNDLE",
  "PIP_CERT",
  "GIT_SSL_CAINFO",
];

/** The way out of this network. Programs differ in which case they read. */
const PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"];

/** npm's own words for the same, which pnpm, yarn and bun read too. None of them is a token. */
const NPM = ["registry", "proxy", "https_proxy", "noproxy", "ca", "cafile", "strict_ssl"];

/**
 * How this machine reaches the outside: certificates, proxies, the npm registry. A proxy's password in its URL goes
 * along, since nothing gets out without it.
 */
const NETWORK = [
  ...TRUST,
  "NODE_USE_ENV_PROXY",
  ...PROXIES.flatMap((name) => [name, name.toLowerCase()]),
  ...NPM.flatMap((name) => [`npm_config_${name}`, `NPM_CONFIG_${name.toUpperCase()}`]),
];

const FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Of an environment, what says how to reach the outside. Empty values say nothing: npm sets some of them. */
export function networkEnvironment(from: NodeJS.ProcessEnv): Record<string, string> {
  return pick(from, NETWORK);
}

/** The PATH of hosted processes, with directories put before it. */
export function inheritedPath(
  binaries: readonly string[] = [],
  from: NodeJS.ProcessEnv = process.env,
): string {
  return [...binaries, from["PATH"] ?? FALLBACK_PATH].join(delimiter);
}

/**
 * The whole environment of a hosted process: an allow-list of the runner's, a home and a temporary directory of its
 * own, and what the caller gives. NODE_ENV isn't inherited: the runner's `production` would make an install leave out
 * the tools that the build needs.
 */
export function cleanEnvironment(options: {
  home: string;
  temporary: string;
  /** Put before the inherited PATH. */
  binaries?: readonly string[];
  /** Further variables of the runner that may pass. */
  inherit?: readonly string[];
  given?: Readonly<Record<string, string>>;
  /** The runner's own, by default this process's. */
  from?: NodeJS.ProcessEnv;
}): Record<string, string> {
  const from = options.from ?? process.env;
  return {
    ...pick(from, PLACE),
    ...networkEnvironment(from),
    ...pick(from, options.inherit ?? []),
    PATH: inheritedPath(options.binaries, from),
    HOME: options.home,
    TMPDIR: options.temporary,
    ...options.given,
  };
}

function pick(from: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = from[name];
    if (value !== undefined && value !== "") picked[name] = value;
  }
  return picked;
}
