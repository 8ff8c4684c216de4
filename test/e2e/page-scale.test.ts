import { afterAll, beforeAll, expect, test } from "vitest";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { openPage, type PageClient } from "../helpers/page-client.ts";
import { startPlainApp, type PlainApp } from "../helpers/plain-app.ts";
import { commandOf, residentMiB } from "../helpers/program.ts";
import { startTestStack, until, type TestStack } from "../helpers/stack.ts";
import { liveHeapMiB } from "../helpers/worker-heap.ts";

/** The soak has nearly a hub's worth: workerd takes two files for each socket, of 20,000 that a machine often allows. */
const PAGES = process.env["SIGNALBOX_SOAK"] === "1" ? 9_000 : 1_000;
const OPENING_AT_ONCE = 50;
/** An object has 128 MB; the measured need is a few KiB for each page. */
const HEAP_LIMIT_KIB_PER_PAGE = 10;

let stack: TestStack;
const backends: PlainApp[] = [];
const pages: PageClient[] = [];

beforeAll(async () => {
  stack = await startTestStack({ inspect: true });
});

afterAll(async () => {
  for (const { socket } of pages) socket.terminate();
  await Promise.all(backends.map((backend) => backend.close()));
  await stack.stop();
});

test(`${PAGES} pages of one version are counted and told at once, in little memory`, async () => {
  await putApp(stack, "crowd", { previousRetentionSeconds: 0, reloadGraceSeconds: 3_600 });
  for (const id of ["v1", "v2"]) {
    const backend = await startPlainApp(id);
    backends.push(backend);
    await deployUrl(stack, "crowd", id, backend.url, id === "v1");
  }
  const host = "crowd.localhost";
  pages.push(await openPage(stack, host));
  const heapBefore = await liveHeapMiB(stack.workerd.inspectorPort);
  const edge = commandOf(stack.workerd.pid);
  const residentBefore = residentMiB(edge);
  while (pages.length < PAGES) {
    const batch = Math.min(OPENING_AT_ONCE, PAGES - pages.length);
    pages.push(...(await Promise.all(Array.from({ length: batch }, () => openPage(stack, host)))));
  }
  const kibPerPage = ((await liveHeapMiB(stack.workerd.inspectorPort)) - heapBefore) * (1024 / PAGES);
  const residentKib = (residentMiB(edge) - residentBefore) * (1024 / PAGES);
  await stack.api("POST", "/apps/crowd/deployments/v2/promote");

  const count = async (): Promise<string> => {
    const { body } = await stack.api("POST", "/janitor/run", { dryRun: true });
    return JSON.stringify(body["decisions"]);
  };
  await until(count, (seen) => seen.includes(`${PAGES} live`));
  const counting = performance.now();
  expect(await count()).toContain(`${PAGES} live`);
  const told = performance.now();
  await stack.api("DELETE", "/apps/crowd/deployments/v1");
  await until(
    () => pages.filter(({ heard }) => heard.includes("reload")).length,
    (heard) => heard === PAGES,
  );
  const heard = performance.now();
  console.log(
    `${PAGES} pages: ${kibPerPage.toFixed(1)} KiB of heap and ${residentKib.toFixed(1)} KiB of memory each, ` +
      `counted in ${Math.round(told - counting)} ms, told to reload in ${Math.round(heard - told)} ms`,
  );
  expect(kibPerPage).toBeLessThan(HEAP_LIMIT_KIB_PER_PAGE);
  const { body } = await stack.api("GET", "/apps/crowd/deployments/v1");
  expect(body["retirement"]).toMatchObject({ reloadedSockets: PAGES });
});
