import { expect, test } from "vitest";
import type { RawHeaders } from "../../functions/protocol/frames.ts";
import { requestHeaders, upgradeHeaders } from "../../runner/tunnel/headers.ts";
import { localRequest, publicAnswer } from "../../runner/tunnel/hosts.ts";

const HOST = "demo.example:8787";
const request: RawHeaders = [
  ["host", HOST],
  ["x-forwarded-host", HOST],
  ["x-forwarded-proto", "https"],
  ["x-forwarded-for", "192.0.2.1"],
];

test("a development server is asked as a browser on its own machine would ask it", () => {
  expect(localRequest(request, 5173)).toEqual([
    ["host", "localhost:5173"],
    ["x-forwarded-for", "192.0.2.1"],
  ]);
});

test.each([
  ["origin", `https://${HOST}`, "http://localhost:5173"],
  ["origin", "https://DEMO.example:8787", "http://localhost:5173"],
  ["Origin", `http://${HOST}`, "http://localhost:5173"],
  ["referer", `https://${HOST}/a%20b?c=%2F#d`, "http://localhost:5173/a%20b?c=%2F#d"],
  ["referer", `https://${HOST}?c`, "http://localhost:5173?c"],
  ["origin", "https://elsewhere.example", "https://elsewhere.example"],
  ["origin", `https://${HOST}.elsewhere.example`, `https://${HOST}.elsewhere.example`],
  ["origin", `https://${HOST}@elsewhere.example`, `https://${HOST}@elsewhere.example`],
  ["origin", "https://demo.example", "https://demo.example"],
  ["origin", "null", "null"],
  ["origin", "", ""],
  ["x-other", `https://${HOST}`, `https://${HOST}`],
])("%s: %s becomes %s", (name, sent, given) => {
  expect(localRequest([...request, [name, sent]], 5173).at(-1)).toEqual([name, given]);
});

test.each([
  ["location", "http://localhost:5173/login?next=%2Fa", `https://${HOST}/login?next=%2Fa`],
  ["Location", "http://localhost:5173", `https://${HOST}`],
  ["location", "//localhost:5173/a", `https://${HOST}/a`],
  ["location", "https://localhost:5173/a", `https://${HOST}/a`],
  ["location", "http://127.0.0.1:5173/a?b", `https://${HOST}/a?b`],
  ["location", "http://[::1]:5173/a", `https://${HOST}/a`],
  ["location", "http:\\\\localhost:5173\\a", `https://${HOST}\\a`],
  ["refresh", "5; url=http://localhost:5173/a", `5; url=https://${HOST}/a`],
  ["Refresh", "0;URL='//127.0.0.1:5173/a'", `0;URL='https://${HOST}/a'`],
  ["refresh", "5", "5"],
  ["refresh", "5; url=https://elsewhere.example/", "5; url=https://elsewhere.example/"],
  ["location", "http://localhost:5173.elsewhere.example/", "http://localhost:5173.elsewhere.example/"],
  ["location", "/login", "/login"],
  ["location", "http://localhost:5174/", "http://localhost:5174/"],
  ["location", "https://elsewhere.example/", "https://elsewhere.example/"],
  ["x-other", "http://localhost:5173/", "http://localhost:5173/"],
])("the answer's %s: %s becomes %s", (name, given, seen) => {
  expect(publicAnswer([[name, given]], request, 5173)).toEqual([[name, seen]]);
});

test("other services are told the public host and origin", () => {
  const headers: RawHeaders = [...request, ["origin", `https://${HOST}`]];
  const head = { service: "demo/v1", method: "GET", path: "/", headers, webSocket: false };
  const target = { address: { port: 5173, host: "public" }, headers: [] } as const;
  expect(requestHeaders(head, 0, target).headers).toEqual(headers);
  expect(upgradeHeaders({ ...head, webSocket: true }, target)).toEqual(headers);
});
