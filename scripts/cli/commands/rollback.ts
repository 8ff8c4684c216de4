import { command, ofApp } from "../command.ts";

export const rollback = command({
  name: "rollback",
  summary: "makes the previous deployment the active one again",
  flags: ofApp,
  async run(context) {
    const app = await context.app();
    const control = await context.control();
    const { active: from } = await control.app(app);
    const after = await control.rollback(app);
    context.output.result(after, () => {
      const { style } = context.output;
      return `${style.green("●")} ${style.bold(`${app} ${after.active ?? ""}`)} is active again, instead of ${from ?? "none"}`;
    });
  },
});
