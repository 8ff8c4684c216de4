import { RunnerError } from "../runner-error.ts";

/** How a runner reaches git remotes. */
export const gitProtocols = ["https", "http", "ssh", "file"] as const;
export type GitProtocol = (typeof gitProtocols)[number];

export interface GitSettings {
  /** What a remote's address may begin with. */
  protocols: readonly GitProtocol[];
  /** By host, with its port where the address has one. */
  tokens: Readonly<Record<string, string>>;
  /** Where `OWNER/NAME` is. */
  githubUrl: string;
}

export const gitSettings: GitSettings = {
  protocols: ["https"],
  tokens: {},
  githubUrl: "https://github.com",
};

export interface Remote {
  url: string;
  protocol: GitProtocol;
  /** `github.com`, `localhost:3000`; null for a file. */
  host: string | null;
}

/** Source: git-clone(1), the short form of an ssh address. */
const SCP = /^(?:([\w.-]+)@)?([\w.-]+):(?!\/\/)([^\s-][^\s]*)$/;

/** Errors: `invalid_request` for what isn't an address, has a password in it, or isn't allowed here. */
export function parseRemote(address: string, { protocols }: GitSettings): Remote {
  const remote = remoteOf(address);
  if (protocols.includes(remote.protocol)) return remote;
  throw refused(
    `This runner doesn't use ${remote.protocol} remotes, only ${protocols.join(", ")}: set RUNNER_GIT_PROTOCOLS.`,
  );
}

function remoteOf(address: string): Remote {
  // What git or a shell would read as something else than an address.
  if (address.startsWith("-") || /[\0-\x20\x7f]/.test(address) || address.includes("::"))
    throw refused("This isn't a git address.");
  const url = URL.parse(address);
  const protocol = gitProtocols.find((one) => url?.protocol === `${one}:`);
  if (url !== null && protocol !== undefined) {
    if (protocol === "file") return { url: address, protocol, host: null };
    if (url.password !== "" || (protocol !== "ssh" && url.username !== ""))
      throw refused(
        "Leave the login out of the address: set it as the project's variable GIT_TOKEN, for git.",
      );
    if (url.host === "" || url.hostname.startsWith("-")) throw refused("This isn't a git address.");
    return { url: address, protocol, host: url.host };
  }
  const [, , host] = SCP.exec(address) ?? [];
  if (host !== undefined && !host.startsWith("-")) return { url: address, protocol: "ssh", host };
  throw refused("This isn't a git address: https://HOST/PATH, for example.");
}

function refused(detail: string): RunnerError {
  return new RunnerError("invalid_request", detail, "remote");
}

/** Of a branch, by git-check-ref-format(1), and narrower. */
export const BRANCH_PATTERN =
  /^(?!-|\/|\.)(?!.*(?:\.\.|\/\/|\/\.|@\{|\.lock(?:\/|$)|\/$|\.$))[\w./+@-]{1,200}$/;
