import { expect, test } from "vitest";
import { Problem } from "../../functions/errors.ts";
import { admit } from "../../functions/runners/admission.ts";
import type { SocketCall } from "../../functions/runners/hub-call.ts";
import { newRunner, parseRunner, type RunnerRecord } from "../../functions/runners/registry.ts";

const OWN = "0".repeat(64);
const OTHER = "1".repeat(64);
const record = (credentialSha256: string | null, enrolledAt: number | null): RunnerRecord => ({
  ...newRunner("r", 0),
  credentialSha256,
  enrolledAt,
});

const records = {
  none: null,
  fresh: record(null, null),
  issued: record(OWN, null),
  enrolled: record(OWN, 1),
};
const logins = {
  own: { ownCredential: true, credentialSha256: OWN },
  another: { ownCredential: true, credentialSha256: OTHER },
  "one a former Worker has looked up": { ownCredential: true },
  "shared and own": { ownCredential: false, credentialSha256: OWN },
  "shared and another": { ownCredential: false, credentialSha256: OTHER },
  shared: { ownCredential: false },
} as const;

test.each<[keyof typeof logins, Record<keyof typeof records, string>]>([
  ["own", { none: "unauthorized", fresh: "unauthorized", issued: "own, enrols", enrolled: "own" }],
  [
    "another",
    { none: "unauthorized", fresh: "unauthorized", issued: "unauthorized", enrolled: "unauthorized" },
  ],
  ["one a former Worker has looked up", { none: "own", fresh: "own", issued: "own", enrolled: "own" }],
  ["shared and own", { none: "own, enrols", fresh: "own, enrols", issued: "own, enrols", enrolled: "own" }],
  [
    "shared and another",
    { none: "own, enrols", fresh: "own, enrols", issued: "shared", enrolled: "runner_enrolled" },
  ],
  ["shared", { none: "shared", fresh: "shared", issued: "shared", enrolled: "runner_enrolled" }],
])("a runner that comes with %s", (login, wanted) => {
  const outcome = (known: RunnerRecord | null, mustEnrol: boolean): string => {
    const call: SocketCall = {
      kind: "socket",
      runnerId: "r",
      protocol: "sentryvibe",
      mustEnrol,
      ...logins[login],
    };
    const admission = admit(call, known);
    if (admission instanceof Problem) return admission.code;
    return [admission.ownCredential ? "own" : "shared", ...(admission.enrols ? ["enrols"] : [])].join(", ");
  };
  for (const [name, known] of Object.entries(records)) {
    const expected = wanted[name as keyof typeof records];
    expect([name, outcome(known, false)]).toEqual([name, expected]);
    expect([name, outcome(known, true)]).toEqual([
      name,
      expected === "shared" ? "enrolment_required" : expected,
    ]);
  }
});

test("a record from before enrolment hasn't enrolled, whatever credential it has", () => {
  const { enrolledAt: _enrolledAt, ...former } = record(OWN, 1);
  expect(parseRunner(former)).toMatchObject({ credentialSha256: OWN, enrolledAt: null });
});
