import { access } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { LOCAL_RUNNER } from "../local/runner.ts";
import type { Stack } from "../local/stack.ts";
import { check, seen, tell } from "./story.ts";

const SLUG = "bakery";
const PROMPT = "a static landing page for a bakery, with sections: Bread, Cakes";
const BUILT_WITHIN_MS = 60_000;

/** A project from its prompt to its end. `workspace`: where the local runner keeps projects. */
export async function projectStory({ control, url }: Stack, workspace: string): Promise<void> {
  const port = Number(new URL(url).port);
  const begunAt = performance.now();
  const { build } = await control.createProject({ slug: SLUG, prompt: PROMPT });
  check(build !== null, "the prompt began no build");
  await seen(
    "the build is over",
    async () => {
      const { state, reason } = await control.build(build.id);
      check(state !== "failed", `the build failed: ${reason ?? ""}`);
      return state === "completed";
    },
    BUILT_WITHIN_MS,
  );
  const tookSeconds = ((performance.now() - begunAt) / 1_000).toFixed(1);
  tell(`"${PROMPT}" became the project ${SLUG} in ${tookSeconds} s, by the built-in template.`);

  const host = `${SLUG}.preview.localhost`;
  check((await get(port, host, "/")).status === 401, "a private preview let somebody in without a link");
  const link = new URL((await control.sharePreview(SLUG, 600)).url);
  const entry = await get(port, host, link.pathname + link.search);
  const cookie = entry.cookie.split(";")[0] ?? "";
  const page = async (): Promise<string> => (await get(port, host, "/", cookie)).body;
  await seen("the preview shows the page", async () => (await page()).includes("Cakes"));
  tell("Its preview is private: 401 without a link. By a link that was shared, the page is there.");

  const edited = (await page()).replaceAll("Cakes", "Cakes and pies");
  const wrote = await control.call("POST", `/runners/${LOCAL_RUNNER}/commands?wait=20`, {
    type: "write-file",
    payload: { slug: SLUG, filePath: "index.html", content: edited },
  });
  check(JSON.stringify(wrote).includes("file-written"), `the edit was refused: ${JSON.stringify(wrote)}`);
  await seen("the edit shows", async () => (await page()).includes("Cakes and pies"));
  tell("A file is edited through the edge, and the preview shows it.");

  await control.deleteProject(SLUG);
  await seen("the preview is gone", async () => (await get(port, host, "/", cookie)).status === 404);
  const isLeft = await access(join(workspace, SLUG)).then(
    () => true,
    () => false, // as it should be
  );
  check(!isLeft, "the project's files are still there");
  tell("The project is deleted: its preview is a 404, and nothing of it is left on the runner.");
}

/** Node resolves no names below localhost. */
function get(
  port: number,
  host: string,
  path: string,
  cookie = "",
): Promise<{ status: number; body: string; cookie: string }> {
  return new Promise((resolve, reject) => {
    const headers = { host: `${host}:${port}`, ...(cookie === "" ? {} : { cookie }) };
    const sent = request({ host: "127.0.0.1", port, path, headers, agent: false }, (response) => {
      const status = response.statusCode ?? 0;
      const given = response.headers["set-cookie"]?.[0] ?? "";
      text(response).then((body) => resolve({ status, body, cookie: given }), reject);
    });
    sent.on("error", reject);
    sent.end();
  });
}
