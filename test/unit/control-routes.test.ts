import { readdirSync } from "node:fs";
import { expect, test } from "vitest";

const directory = new URL("../../functions/control/routes/", import.meta.url);

async function definedRoutes(): Promise<Route[]> {
  const modules = readdirSync(directory).map(
    (file) => import(new URL(file, directory).href) as Promise<Record<string, unknown>>,
  );
  return (await Promise.all(modules)).flatMap((module) => Object.values(module).filter(isRoute));
}

test("the control API serves every route that its clients are typed from, and no other", async () => {
  const defined = (await definedRoutes()).map(nameOf);
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

test("every change takes an Idempotency-Key", async () => {
  const changes = (await definedRoutes()).filter(({ method }) => method !== "get");
  const without = changes.filter(({ middleware, parameters }) => !middleware || !parameters).map(nameOf);
  expect(without.sort()).toEqual([
    "post /placements",
    "post /projects/{slug}/preview",
    "put /apps/{app}/deployments/{id}/source",
  ]);
});

interface Route {
  method: string;
  path: string;
  middleware?: unknown;
  parameters?: unknown;
}

function isRoute(value: unknown): value is Route {
  return value !== null && typeof value === "object" && "getRoutingPath" in value;
}

function nameOf({ method, path }: Route): string {
  return `${method} ${path}`;
}
