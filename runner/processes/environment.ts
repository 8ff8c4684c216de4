/** The variable by which a process and everything it starts are known again. */
export const MARKER_VARIABLE = "SIGNALBOX_PROCESS";

/** What a child may know of the runner's own environment: how to find programs and how to speak and trust. */
const INHERITED = [
  "PATH",
  "LANG",
  "LANGUAGE",
  "LC_ALL",
  "LC_CTYPE",
  "TZ",
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
];
const FALLBACK_PATH = "/usr/local/bin:/usr/bin:/bin";

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
  /** Further variables of the runner that may pass: a proxy's, a registry's. */
  inherit?: readonly string[];
  given?: Readonly<Record<string, string>>;
  /** The runner's own, by default this process's. */
  from?: NodeJS.ProcessEnv;
}): Record<string, string> {
  const from = options.from ?? process.env;
  const environment: Record<string, string> = {};
  for (const name of [...INHERITED, ...(options.inherit ?? [])]) {
    const value = from[name];
    if (value !== undefined) environment[name] = value;
  }
  const path = [...(options.binaries ?? []), environment["PATH"] ?? FALLBACK_PATH].join(":");
  return {
    ...environment,
    PATH: path,
    HOME: options.home,
    TMPDIR: options.temporary,
    ...options.given,
  };
}
