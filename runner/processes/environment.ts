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
  "PIP_CONFIG_FILE",
  "GIT_SSL_CAINFO",
];

/** Programs differ in which case they read. */
const eitherCase = (name: string): string[] => [name, name.toUpperCase()];
const npmConfig = (name: string): string[] => [`npm_config_${name}`, `NPM_CONFIG_${name.toUpperCase()}`];

/** The way out of this network and to its registries, each a URL. pnpm, yarn and bun read npm's variables too. */
const ADDRESSES = [
  ...["http_proxy", "https_proxy", "all_proxy"].flatMap(eitherCase),
  ...["registry", "proxy", "https_proxy"].flatMap(npmConfig),
  "PIP_INDEX_URL",
];
/** What belongs to them. No token is among these. */
const NETWORK = [
  ...TRUST,
  "NODE_USE_ENV_PROXY",
  ...eitherCase("no_proxy"),
  ...["noproxy", "ca", "cafile", "strict_ssl"].flatMap(npmConfig),
];

const FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin";

/** Names of all that says how a machine reaches the outside: certificates, proxies, the npm registry. */
export const networkVariables: readonly string[] = [...ADDRESSES, ...NETWORK];

/** Of an environment, the variables with these names. Empty ones say nothing: npm sets some. */
export function pick(from: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = from[name];
    if (value !== undefined && value !== "") picked[name] = value;
  }
  return picked;
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
 * own, and what the caller gives. Addresses pass without the password in them. NODE_ENV isn't inherited: the runner's `production` would make an install leave out
 * the tools that the build needs.
 */
export function cleanEnvironment(options: {
  home: string;
  temporary: string;
  /** Put before the inherited PATH. */
  binaries?: readonly string[];
  /** Further variables of the runner that pass, as they are. */
  inherit?: readonly string[];
  given?: Readonly<Record<string, string>>;
  /** The runner's own, by default this process's. */
  from?: NodeJS.ProcessEnv;
}): Record<string, string> {
  const from = options.from ?? process.env;
  return {
    ...pick(from, PLACE),
    ...pick(from, NETWORK),
    ...withoutPasswords(pick(from, ADDRESSES)),
    ...pick(from, options.inherit ?? []),
    PATH: inheritedPath(options.binaries, from),
    HOME: options.home,
    TMPDIR: options.temporary,
    ...options.given,
  };
}

function withoutPasswords(addresses: Record<string, string>): Record<string, string> {
  const entries = Object.entries(addresses);
  return Object.fromEntries(
    entries.map(([name, url]) => [name, url.replace(/^([a-z][a-z0-9+.-]*:\/\/)?[^/?#]*@/i, "$1")]),
  );
}
