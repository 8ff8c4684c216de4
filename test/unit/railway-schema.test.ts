import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { buildClientSchema, parse, validate, type GraphQLSchema, type IntrospectionQuery } from "graphql";
import { describe, expect, test } from "vitest";
import type { Operation } from "../../functions/railway/operation.ts";
import * as operations from "../../functions/railway/operations.ts";
import * as stackOperations from "../../functions/railway/baseline-operations.ts";
import { projectRoot } from "../../scripts/build/worker.ts";

const schemaFile =
  process.env["SIGNALBOX_RAILWAY_SCHEMA"] ?? join(projectRoot, "../shared/railway/schema.json");
const isThere = existsSync(schemaFile);
const reason = isThere ? "" : " (skipped: no SIGNALBOX_RAILWAY_SCHEMA, and no schema beside the checkout)";

const all = Object.values<unknown>({ ...operations, ...stackOperations }).filter(isOperation);

describe.skipIf(!isThere)(`Railway's schema${reason}`, () => {
  const schema = isThere ? readSchema() : null;

  test.for(all)("takes $name as it is written", ({ text }) => {
    if (schema === null) throw new Error("There is no schema");
    expect(validate(schema, parse(text)).map(({ message }) => message)).toEqual([]);
  });
});

test("there are operations to check, each under a name of its own", () => {
  const names = all.map(({ name }) => name);
  expect(names.length).toBeGreaterThan(10);
  expect(new Set(names).size).toBe(names.length);
});

function readSchema(): GraphQLSchema {
  const introspection: { data?: IntrospectionQuery } & IntrospectionQuery = JSON.parse(
    readFileSync(schemaFile, "utf8"),
  );
  // Railway deprecates a field of an interface in one type only, which the specification forbids.
  return buildClientSchema(introspection.data ?? introspection, { assumeValid: true });
}

function isOperation(value: unknown): value is Operation<unknown, unknown> {
  return typeof value === "object" && value !== null && "text" in value && "safe" in value;
}
