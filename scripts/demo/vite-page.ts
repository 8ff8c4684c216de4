import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "vite";
import { projectRoot } from "../build/worker.ts";
import type { Stack } from "../local/stack.ts";
import { pageVisitor, selectedAt } from "./open-page.ts";
import { Operator } from "./operator.ts";
import { check, seen, tell } from "./story.ts";

const APP = "vite-page";

/** An ordinary app, without a line of ours: its open page stays on its version, and so does what it loads later. */
export async function viteStory({ control, url, secrets }: Stack, home: string): Promise<void> {
  const { port } = new URL(url);
  const page = `http://${APP}.localhost:${port}/`;
  const source = join(home, APP);
  await cp(join(projectRoot, "examples", APP), source, { recursive: true });
  const operator = new Operator(home, { SIGNALBOX_URL: url, SIGNALBOX_TOKEN: secrets.controlToken });
  const deploy = async (id: string): Promise<void> => {
    await build({ root: source, logLevel: "silent" });
    const { state } = await operator.signalbox("deploy", join(source, "dist"), "--app", APP, "--id", id);
    check(state === "active", `${id} is ${String(state)}`);
  };
  const visitor = await pageVisitor();
  try {
    await deploy("v1");
    tell(`A page as Vite makes it, without a line of Signalbox: signalbox deploy, and v1 serves at ${page}.`);
    const anna = await visitor.open(page);
    tell(`It is opened on v1 and left open, in ${visitor.name}. Its "More" loads a component when clicked.`);

    const details = join(source, "src/details.js");
    await writeFile(details, (await readFile(details, "utf8")).replace("v1", "v2"));
    await deploy("v2");
    tell("The component is changed and deployed: v2 is promoted, with another file name for the component.");

    await seen("new visitors get v2", async () => (await selectedAt(page)) === "v2");
    const news = await (await visitor.open(page)).clickMore();
    check(news === "The details of v2.", `a new tab shows ${JSON.stringify(news)}`);
    tell(`A new tab, "More" clicked: "${news}"`);

    const shown = await anna.clickMore();
    check(shown === "The details of v1.", `the old page shows ${JSON.stringify(shown)}`);
    tell(`The old page, "More" clicked only now: "${shown}" It found the file of its own version.`);
  } finally {
    await visitor.close();
  }
  await control.call("DELETE", `/apps/${APP}`);
}
