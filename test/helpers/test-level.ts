import type { ConfinementLevel } from "../../functions/protocol/runner-api.ts";

const given = process.env["SIGNALBOX_TEST_CONFINEMENT"];
if (given !== undefined && !["sandbox", "user", "none"].includes(given))
  throw new Error(`SIGNALBOX_TEST_CONFINEMENT is ${given}: sandbox, user or none.`);

/**
 * What tests that have nothing to do with confinement keep their guests in: SIGNALBOX_TEST_CONFINEMENT=sandbox runs a file at that
 * level, and `npm run soak` runs the runner's at each. Without it, whatever is simplest.
 */
export const TEST_LEVEL = given as ConfinementLevel | undefined;
