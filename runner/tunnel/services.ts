import { connect, type LookupFunction, type Socket } from "node:net";
import type { HostChoice } from "./hosts.ts";

/** Where a service listens on this machine; `via` is the socket that leads to its port, where that isn't loopback's. */
export type ServiceTarget =
  { port: number; host?: HostChoice; via?: string | undefined } | { socketPath: string };

/** Finds this runner's services by name: a deployment's or a project's id. */
export interface Services {
  /** Where the service listens at this moment; null when there is no such service or it doesn't run. */
  lookup(service: string, isSocket: boolean): ServiceTarget | null;
}

/** A target with what only the runner itself may add. */
export interface ResolvedTarget {
  address: ServiceTarget;
  /** Headers that the hub can't set, since they are added behind it. */
  headers: readonly (readonly [name: string, value: string])[];
}

const lookup: LookupFunction = (_host, options, callback) => {
  const addresses = [
    { address: "127.0.0.1", family: 4 },
    { address: "::1", family: 6 },
  ];
  if (options.all === true) callback(null, addresses);
  else callback(null, "127.0.0.1", 4);
};

/**
 * How to reach a port of this machine. Development servers that listen on "localhost" take one of its two addresses,
 * and which one differs between machines. No name server is asked.
 */
export const loopback = {
  host: "localhost",
  lookup,
  autoSelectFamily: true,
  // A wrong address refuses at once. The default of 250 ms only ends attempts of a process that is busy.
  autoSelectFamilyAttemptTimeout: 10_000,
};

export function dial(target: ServiceTarget): Socket {
  const way = wayTo(target);
  return connect("socketPath" in way ? { path: way.socketPath } : way);
}

/** For a request or a socket. */
export function wayTo(target: ServiceTarget): { socketPath: string } | (typeof loopback & { port: number }) {
  if ("socketPath" in target) return { socketPath: target.socketPath };
  const { port, via } = target;
  return via === undefined ? { ...loopback, port } : { socketPath: via };
}
