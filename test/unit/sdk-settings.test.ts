import { describe, expect, test } from "vitest";
import { createSignalbox } from "../../sdk/index.ts";

describe("settings", () => {
  test("come from the environment, and an option wins over its variable", () => {
    const env = { PULSE_DEPLOYMENT_ID: "v1", PULSE_SERVER_ADDRESS: "https://app.example", PORT: "4101" };
    expect(createSignalbox({ env })).toMatchObject({
      deploymentId: "v1",
      serverAddress: "https://app.example",
      port: 4101,
    });
    expect(createSignalbox({ env, deploymentId: "v2", port: 0 })).toMatchObject({
      deploymentId: "v2",
      port: 0,
    });
  });

  test("are absent, not guessed, when nothing sets them", () => {
    expect(createSignalbox({ env: { PULSE_DEPLOYMENT_ID: "" } })).toMatchObject({
      deploymentId: null,
      serverAddress: null,
      port: null,
      scriptTag: '<script src="/_pulse/client.js"></script>',
    });
  });

  test.each(["V1", "-v1", "v_1", "a".repeat(25), 'v"1'])(
    "refuse the deployment id %j by its variable's name",
    (id) => {
      expect(() => createSignalbox({ env: { PULSE_DEPLOYMENT_ID: id } })).toThrow(/PULSE_DEPLOYMENT_ID/);
    },
  );

  test.each(["http", "-1", "65536", "80.5", " 80"])("refuse the port %j by its variable's name", (port) => {
    expect(() => createSignalbox({ env: { PORT: port } })).toThrow(/PORT/);
  });
});
