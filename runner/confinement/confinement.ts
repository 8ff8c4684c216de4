import type { HostedConfinement } from "../../functions/protocol/runner-api.ts";
import { type Confine, unconfined } from "./launch.ts";

/** A system user of a guest's own, and the group that the guests of one app share. */
export interface GuestUser {
  uid: number;
  gid: number;
}

/** What one command of a guest may touch. */
export interface GuestPlace {
  /** Directories of its own. They exist. */
  writable: readonly string[];
  /** What it may read besides the system. */
  readable: readonly string[];
  /** Where the runner reaches it, if it serves. */
  port: number | null;
  /** Null unless the runner is root. */
  user: GuestUser | null;
}

/** How this runner keeps its guests from each other and from itself; one for its whole life. */
export interface Confinement {
  readonly status: HostedConfinement;
  /** How to start a command of a guest. */
  confine(place: GuestPlace): Confine;
}

/** Guests run as the runner itself does. */
export const noConfinement: Confinement = {
  status: { level: "none", network: "shared", allowed: null, why: null },
  confine: () => unconfined,
};
