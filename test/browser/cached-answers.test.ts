import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startBackend, type Backend } from "../helpers/backend.ts";
import { deployUrl, putApp } from "../helpers/deploy.ts";
import { launchChromium } from "../helpers/sdk-browser.ts";
import { startTestStack, type TestStack } from "../helpers/stack.ts";

let stack: TestStack;
let browser: Browser;
const backends: Backend[] = [];

beforeAll(async () => {
  stack = await startTestStack();
  await putApp(stack, "shop", { hosts: ["shop.localhost"] });
  for (const id of ["v1", "v2"]) {
    const backend = await startBackend(id);
    backends.push(backend);
    backend.handler = (request, response) => {
      if (request.url !== "/data") return false;
      response.writeHead(200, { "cache-control": "max-age=600", vary: "Accept-Encoding" }).end(id);
      return true;
    };
    await deployUrl(stack, "shop", id, backend.url, id === "v1");
  }
  browser = await launchChromium();
});

afterAll(async () => {
  await browser.close();
  await Promise.all([stack.stop(), ...backends.map((backend) => backend.close())]);
});

test("a browser's cache gives no page the answer that another version got for the same URL", async () => {
  const page = await browser.newPage();
  await page.goto(`http://shop.localhost:${stack.port}/`);
  const fetched = (pin: string | null): Promise<string> =>
    page.evaluate(async (id) => {
      const headers: Record<string, string> = id === null ? {} : { "x-pulse-deployment": id };
      return (await fetch("/data", { headers })).text();
    }, pin);
  const asked = (): number =>
    backends.flatMap(({ seen }) => seen).filter(({ url }) => url === "/data").length;

  expect(await fetched(null)).toBe("v1");
  expect(await fetched(null)).toBe("v1");
  expect(asked()).toBe(1);
  expect(await fetched("v2")).toBe("v2");
  expect(await fetched("v2")).toBe("v2");
  expect(asked()).toBe(2);
  expect(await fetched("v1")).toBe("v1");
  expect(await fetched(null)).toBe("v1");
});
