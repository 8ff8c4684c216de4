import { expect, test } from "vitest";
import { target } from "../../functions/apps/app-document.ts";

const targets = {
  url: { kind: "url", url: "https://backend.example.com" },
  railway: { kind: "railway", image: "nginx" },
  runner: { kind: "runner", source: { sha256: "0".repeat(64) }, start: "node ." },
};

test.each([
  ["url", ["public", "own"], ["local", ""]],
  ["railway", ["public", "own"], ["local", ""]],
  ["runner", ["public", "local"], ["own", ""]],
] as const)("a %s target takes %j as its host and refuses %j", (kind, taken, refused) => {
  const accepts = (host: string | undefined): boolean =>
    target.safeParse({ ...targets[kind], ...(host !== undefined && { host }) }).success;
  expect([undefined, ...taken].map(accepts)).not.toContain(false);
  expect(refused.map(accepts)).not.toContain(true);
});
