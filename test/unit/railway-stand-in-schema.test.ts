import {
  buildClientSchema,
  isInputObjectType,
  isEnumType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  type IntrospectionQuery,
} from "graphql";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../scripts/build/worker.ts";
import { schema } from "../../scripts/railway-stand-in/schema.ts";

const file = process.env["SIGNALBOX_RAILWAY_SCHEMA"] ?? join(projectRoot, "../shared/railway/schema.json");

test("every type, field and argument of the stand-in is one of Railway's, and none that Railway requires is missing", (context) => {
  if (!existsSync(file))
    context.skip(`Railway's schema isn't at ${file}; SIGNALBOX_RAILWAY_SCHEMA names another place.`);
  const parsed = JSON.parse(readFileSync(file, "utf8")) as { data: IntrospectionQuery };
  const railway = buildClientSchema(parsed.data);
  const differences: string[] = [];
  const same = (what: string, ours: unknown, theirs: unknown): void => {
    if (String(ours) !== String(theirs))
      differences.push(`${what}: ${String(ours)}, Railway has ${String(theirs)}`);
  };
  const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith("__"));
  for (const ours of types) {
    const theirs = railway.getType(ours.name);
    same(`kind of ${ours.name}`, ours.constructor.name, theirs?.constructor.name);
    if (isObjectType(ours) && isObjectType(theirs)) {
      for (const field of Object.values(ours.getFields())) {
        const real = theirs.getFields()[field.name];
        same(`${ours.name}.${field.name}`, field.type, real?.type);
        for (const argument of field.args) {
          const other = real?.args.find(({ name }) => name === argument.name);
          same(`${ours.name}.${field.name}(${argument.name})`, argument.type, other?.type);
        }
        const missing = real?.args.filter(
          (one) => isRequiredArgument(one) && !field.args.some(({ name }) => name === one.name),
        );
        same(
          `missing arguments of ${ours.name}.${field.name}`,
          "",
          missing?.map(({ name }) => name).join() ?? "",
        );
      }
    }
    if (isInputObjectType(ours) && isInputObjectType(theirs)) {
      for (const field of Object.values(ours.getFields()))
        same(`${ours.name}.${field.name}`, field.type, theirs.getFields()[field.name]?.type);
      const missing = Object.values(theirs.getFields()).filter(
        (one) => isRequiredInputField(one) && !(one.name in ours.getFields()),
      );
      same(`missing fields of ${ours.name}`, "", missing.map(({ name }) => name).join());
    }
    if (isEnumType(ours) && isEnumType(theirs)) {
      const names = (list: readonly { name: string }[]): string =>
        list
          .map(({ name }) => name)
          .sort()
          .join();
      same(`values of ${ours.name}`, names(ours.getValues()), names(theirs.getValues()));
    }
  }
  expect(types.length).toBeGreaterThan(50);
  expect(differences).toEqual([]);
});
