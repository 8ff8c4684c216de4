import { command, ofApp } from "../command.ts";

export const rollback = command({
  name: "rollback",
  summary: "makes the previous deployment the active one again",
  flags: ofApp,
  async run(session) {
    const app = await session.app();
    const control = await session.control();
    const { active: from } = await control.app(app);
    const after = await control.rollback(app);
    session.output.result(after, () => {
      const { style } = session.output;
      return `${style.green("●")} ${style.bold(`${app} ${after.active ?? ""}`)} is active again, instead of ${from ?? "none"}`;
    });
  },
});
