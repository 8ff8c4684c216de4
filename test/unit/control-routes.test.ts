import { readdirSync } from "node:fs";
import { expect, test } from "vitest";

test("the control API serves every route that its clients are typed from, and no other", async () => {
  const directory = new URL("../../functions/control/routes/", import.meta.url);
  const defined: string[] = [];
  for (const file of readdirSync(directory)) {
    const module = (await import(new URL(file, directory).href)) as Record<string, unknown>;
    for (const route of Object.values(module)) {
      if (!isRoute(route)) continue;
      defined.push(`${route.method} ${route.path}`);
    }
  }
  // By its address: the types of the Worker and those of Node contradict each other.
  const control = (await import(new URL("../index.ts", directory).href)) as {
    openApiDocument(): { paths: Record<string, object> };
  };
  const { paths } = control.openApiDocument();
  const served = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method} ${path}`),
  );
  expect(defined.sort()).toEqual(served.sort());
});

function isRoute(value: unknown): value is { method: string; path: string } {
  return value !== null && typeof value === "object" && "getRoutingPath" in value;
}
