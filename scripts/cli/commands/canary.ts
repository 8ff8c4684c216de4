import { command, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";

export const setCanary = command({
  name: "canary set",
  summary: "sends a share of new visitors to a ready deployment",
  arguments: [
    { name: "ID", summary: "the deployment", formerly: "deployment-id" },
    { name: "PERCENT", summary: "how many of a hundred new visitors, 0 to 100" },
  ],
  flags: ofApp,
  async run(session, { arguments: [id = "", percent = ""] }) {
    const weight = Number(percent.replace(/%$/, ""));
    if (!/^\d{1,3}(?:\.\d+)?%?$/.test(percent) || weight > 100) {
      throw new Failure(
        "usage",
        "wrong_usage",
        `PERCENT must be a number from 0 to 100, not ${JSON.stringify(percent)}.`,
      );
    }
    const app = await session.app();
    const after = await (await session.control()).setCanary(app, id, weight);
    session.output.result(
      after,
      () => `${weight} % of the new visitors of ${app} get ${id}; the others get ${after.active ?? ""}.`,
    );
  },
});

export const clearCanary = command({
  name: "canary off",
  summary: "sends all new visitors to the active deployment again",
  flags: ofApp,
  async run(session) {
    const app = await session.app();
    const after = await (await session.control()).clearCanary(app);
    session.output.result(after, () => `All new visitors of ${app} get ${after.active ?? ""}.`);
  },
});
