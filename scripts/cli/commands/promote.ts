import { command, ofApp } from "../command.ts";

export const promote = command({
  name: "promote",
  summary: "makes a ready or draining deployment the active one",
  arguments: [{ name: "ID", summary: "the deployment", formerly: "deployment-id" }],
  flags: ofApp,
  async run(context, { arguments: [id = ""] }) {
    const app = await context.app();
    const promoted = await (await context.control()).promote(app, id);
    const { output } = context;
    output.result(
      promoted,
      () => `${output.style.green("●")} ${output.style.bold(`${app} ${id}`)} is ${promoted.state}`,
    );
  },
});
