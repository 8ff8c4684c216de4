import { command, ofApp } from "../command.ts";
import { Failure } from "../failure.ts";

export const setCanary = command({
  name: "canary set",
  summary: "sends a share of new visitors to a deployment",
  arguments: [
    { name: "ID", summary: "the deployment", formerly: "deployment-id" },
    { name: "PERCENT", summary: "percent of new visitors, 0 to 100" },
  ],
  flags: ofApp,
  async run(context, { arguments: [id = "", percent = ""] }) {
    const weight = Number(percent.replace(/%$/, ""));
    if (!/^\d{1,3}(?:\.\d+)?%?$/.test(percent) || weight > 100) {
      throw new Failure(
        "usage",
        "wrong_usage",
        `PERCENT must be a number from 0 to 100, not ${JSON.stringify(percent)}.`,
      );
    }
    const app = await context.app();
    const after = await (await context.control()).setCanary(app, id, weight);
    context.output.result(
      after,
      () => `${weight} % of the new visitors of ${app} get ${id}; the others get ${after.active ?? ""}.`,
    );
  },
});

export const clearCanary = command({
  name: "canary off",
  summary: "sends all new visitors to the active deployment again",
  flags: ofApp,
  async run(context) {
    const app = await context.app();
    const after = await (await context.control()).clearCanary(app);
    context.output.result(after, () => `All new visitors of ${app} get ${after.active ?? ""}.`);
  },
});
