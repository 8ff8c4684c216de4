import type { HostedConfinement } from "../../functions/protocol/runner-api.ts";
import { type Confine, unconfined } from "./launch.ts";

/** A system user of a guest's own, and the group that the guests of one app share. */
export interface GuestUser {
  uid: number;
  gid: number;
}

/** What one command of a guest may touch. */
export interface GuestPlace {
  /** Directories of its own: given to it first. */
  writable: readonly string[];
  /** The one of these for files that it only keeps for a while. */
  temporary?: string;
  /** What it may read besides the system. */
  readable: readonly string[];
  /** Where the runner reaches it, if it serves. */
  port: number | null;
  /** It calls the gateway to vendors. */
  usesGateway?: boolean;
  /** It installs packages from the runner's cache. */
  usesPackages?: boolean;
  user: GuestUser | null;
}

/** A guest's ports, until it is closed. */
export interface Publication {
  /** The socket that leads to any port of its network; undefined where that is this machine's. */
  reach(port: number): Promise<string | undefined>;
  close(): Promise<void>;
}

/** How this runner keeps its guests from each other and from itself; one for its whole life. */
export interface Confinement {
  readonly status: HostedConfinement;
  /** A guest's system user: the one from before, if it can be. Null where guests have none. */
  admit(key: string, before: GuestUser | null): Promise<GuestUser | null>;
  /** Once nothing of it is left. */
  dismiss(key: string): Promise<void>;
  /** Whether no guest of another runner can have this number. */
  ownsUser(uid: number): Promise<boolean>;
  /** Makes a tree a guest's, its app's, or one that all may read. Nothing of the guest may be running. */
  give(path: string, user: GuestUser | null, whose: "guest" | "app" | "everybody"): Promise<void>;
  /** Lets this machine reach a guest's port where that is in a network of its own; before it starts. */
  publish(port: number): Promise<Publication>;
  /** Ports of this machine's loopback that are on each guest's, too. */
  readonly ports: ReadonlySet<number>;
  /** The socket that leads to a published port, past this machine's loopback. */
  wayTo(port: number): string | undefined;
  /** How to start a command of a guest. */
  confine(place: GuestPlace): Confine;
  close(): Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** Guests run as the runner itself does. */
export const noConfinement = (why: string | null = null): Confinement => ({
  status: { level: "none", network: "shared", allowed: null, why },
  admit: () => Promise.resolve(null),
  dismiss: nothing,
  ownsUser: () => Promise.resolve(false),
  give: nothing,
  publish: () => Promise.resolve({ reach: () => Promise.resolve(undefined), close: nothing }),
  ports: new Set(),
  wayTo: () => undefined,
  confine: () => unconfined,
  close: nothing,
});
