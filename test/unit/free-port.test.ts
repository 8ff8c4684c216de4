import { expect, test } from "vitest";
import { freePort } from "../../scripts/local/free-port.ts";

test("a port isn't given again while the program that it was given to may be starting", async () => {
  const ports: number[] = [];
  // By chance alone some would repeat: 300 of 7,000 ports.
  for (let count = 0; count < 300; count++) ports.push(await freePort());
  expect(new Set(ports).size).toBe(ports.length);
});
