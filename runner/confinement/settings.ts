import type { ConfinementLevel } from "../../functions/protocol/runner-api.ts";
import type { UserRange } from "./guest-users.ts";

export interface ConfinementSettings {
  /** `auto`: the strongest that this host is proved to offer. */
  level: "auto" | ConfinementLevel;
  /** The hosts that guests may reach; null: all. */
  allowed: string[] | null;
  /** Whether sandboxes are in the machine's network even where they could have one of their own. */
  sharesNetwork: boolean;
  /** Ports of this machine's loopback that guests may reach. */
  ports: number[];
  /** What guests may read besides the system. */
  paths: string[];
  users: UserRange;
  /** Whether the relay beside a guest is the small one, where it can be. */
  usesPerl: boolean;
}

/** Free on Debian unless an administrator has counted that far, and within what rootless containers map. */
export const GUEST_USERS: UserRange = { first: 40_000, last: 49_999 };

export const confinementSettings: ConfinementSettings = {
  level: "auto",
  allowed: null,
  sharesNetwork: false,
  ports: [],
  paths: [],
  users: GUEST_USERS,
  usesPerl: true,
};
