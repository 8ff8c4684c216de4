import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startRailwayStandIn, type RailwayStandIn } from "../../scripts/railway-stand-in/index.ts";
import { HERE, MAKE, mutations, RailwayCli, readSecretsFile, RUNNER_IMAGES } from "../helpers/railway-cli.ts";

let railway: RailwayStandIn;
let cli: RailwayCli;

beforeEach(async () => {
  railway = await startRailwayStandIn({ images: RUNNER_IMAGES, pace: { stepMs: 5, secondMs: 50 } });
  cli = await RailwayCli.create({ RAILWAY_API_URL: railway.url });
});

afterEach(async () => {
  await cli.remove();
  await railway.stop();
});

const account = (): Record<string, string> => ({ RAILWAY_API_TOKEN: railway.accountToken });
const project = (): Record<string, string> => ({ RAILWAY_TOKEN: railway.projectToken });
const WRONG = "not-a-token-of-anybody";

describe("tokens", () => {
  test("without any the message says where one may be put", async () => {
    const { exitCode, code, message } = await cli.refused(["railway", "projects"]);
    expect({ exitCode, code }).toEqual({ exitCode: 4, code: "no_railway_token" });
    for (const place of ["RAILWAY_API_TOKEN", "RAILWAY_TOKEN", "--token", "railway login"])
      expect(message).toContain(place);
  });

  test("a wrong one is refused, wherever it came from, and never repeated", async () => {
    const ways: [string[], Record<string, string>, string][] = [
      [[], { RAILWAY_API_TOKEN: WRONG }, "railway_unauthorized"],
      [[], { RAILWAY_TOKEN: WRONG }, "wrong_railway_token"],
      [["--token", WRONG], {}, "railway_unauthorized"],
    ];
    for (const [flags, env, code] of ways) {
      for (const command of [
        ["railway", "projects"],
        ["scaffold", ...HERE, ...MAKE],
        ["ensure", ...HERE, ...MAKE],
      ]) {
        const refusal = await cli.refused([...command, ...flags], env);
        expect(refusal).toMatchObject({ exitCode: 4, code });
        expect(refusal.message).not.toContain(WRONG);
      }
    }
    expect(mutations(railway)).toEqual([]);
  });

  test("an account's in RAILWAY_TOKEN is told where it belongs", async () => {
    const refusal = await cli.refused(["railway", "projects"], { RAILWAY_TOKEN: railway.accountToken });
    expect(refusal).toMatchObject({ exitCode: 4, code: "wrong_railway_token" });
    expect(refusal.message).toContain("RAILWAY_API_TOKEN");
    const terminal = await cli.runInTerminal(["railway", "projects"], {
      RAILWAY_TOKEN: railway.accountToken,
    });
    expect(terminal.code).toBe(4);
    expect(terminal.text).toContain("isn't a project token that Railway knows");
  });

  test("a project token names project and environment by itself, and is no good for others", async () => {
    const listed = await cli.done<{ projects: unknown[] }>(["railway", "projects"], project());
    expect(listed.projects).toMatchObject([{ name: "signalbox", environments: [{ name: "production" }] }]);
    const made = await cli.done(["scaffold", ...MAKE], project());
    expect(made).toMatchObject({
      project: { id: railway.projectId },
      environment: { id: railway.environmentId },
    });
    expect(await cli.done(["ensure", "--project", "signalbox"], project())).toMatchObject({ changed: false });

    await cli.configure({ railway: { workspace: "Acme", project: "signalbox" } });
    expect(await cli.done(["ensure"], project())).toMatchObject({ changed: false });
    railway.state.addProject("other");
    for (const flags of [
      ["--project", "other"],
      ["--environment", "staging"],
      ["--workspace", "Acme"],
      ["--project-id", "x"],
    ]) {
      const refusal = await cli.refused(["ensure", ...flags], project());
      expect(refusal).toMatchObject({ exitCode: 4, code: "account_token_needed" });
      expect(refusal.message).toContain(flags.join(" "));
      expect(refusal.message).toContain("for project signalbox, environment production");
    }
  });

  test("--token comes first, then RAILWAY_TOKEN, then RAILWAY_API_TOKEN; --token takes either kind", async () => {
    const kindOf = async (flags: string[], env: Record<string, string>): Promise<string> => {
      const { token } = await cli.done<{ token: { kind: string; from: string } }>(
        ["railway", "projects", ...flags],
        env,
      );
      return `${token.kind} from ${token.from}`;
    };
    const both = { ...account(), ...project() };
    expect(await kindOf([], both)).toBe("project from RAILWAY_TOKEN");
    expect(await kindOf([], account())).toBe("account from RAILWAY_API_TOKEN");
    expect(await kindOf(["--token", railway.accountToken], both)).toBe("account from --token");
    expect(await kindOf(["--token", railway.projectToken], account())).toBe("project from --token");
    expect(await kindOf(["--token", railway.workspaceToken], {})).toBe("account from --token");
  });
});

describe("targets", () => {
  test("ids do as well as names, and a workspace's token as well as an account's", async () => {
    const ids = ["--project-id", railway.projectId, "--environment-id", railway.environmentId];
    await cli.done(["scaffold", ...ids, ...MAKE], account());
    const workspace = { RAILWAY_API_TOKEN: railway.workspaceToken };
    expect(await cli.done(["ensure", ...HERE], workspace)).toMatchObject({ changed: false });
    expect(
      await cli.done(["ensure", ...HERE, "--workspace-id", railway.workspaceId], account()),
    ).toMatchObject({ changed: false });
    // signalbox.json says the same, and a flag of either form hides what it says.
    await cli.configure({ railway: { workspace: "Acme", project: "signalbox", environment: "staging" } });
    expect(await cli.done(["ensure", "--environment-id", railway.environmentId], account())).toMatchObject({
      changed: false,
    });
  });

  test("a name that several have is refused with the candidates", async () => {
    const other = railway.state.world.addWorkspace("Beta");
    const twin = railway.state.addProject("signalbox", ["production"], other.id);
    const refusal = await cli.refused(["ensure", ...HERE], account());
    expect(refusal).toMatchObject({ exitCode: 7, code: "ambiguous_name" });
    for (const part of [railway.projectId, twin.id, "Acme", "Beta", "--project-id"])
      expect(refusal.message).toContain(part);
    const terminal = await cli.runInTerminal(["ensure", ...HERE], account());
    expect(terminal.code).toBe(7);
    expect(terminal.text).toContain(twin.id);
    // The workspace settles it.
    await cli.done(["scaffold", ...HERE, "--workspace", "Acme", ...MAKE], account());
    expect(railway.state.serviceNames(twin.id)).toEqual([]);
  });

  test("what doesn't exist is refused with what does", async () => {
    railway.state.addProject("other", ["production", "staging"]);
    const cases: [string[], string][] = [
      [["--project", "shop", "--environment", "production"], "This token sees: signalbox, other."],
      [["--project", "other", "--environment", "prod"], "It has: production, staging."],
      [["--project-id", "nothing"], "signalbox railway projects"],
      [["--workspace", "Gamma", ...HERE], "This token sees: Acme."],
    ];
    for (const [flags, hint] of cases) {
      const refusal = await cli.refused(["ensure", ...flags], account());
      expect(refusal).toMatchObject({ exitCode: 6, code: "not_found" });
      expect(refusal.message).toContain(hint);
    }
    const which = await cli.refused(["ensure", "--project", "other"], account());
    expect(which).toMatchObject({ exitCode: 2 });
    expect(which.message).toContain("production, staging");
    expect((await cli.refused(["ensure"], account())).message).toContain("signalbox, other");
  });

  test("a name and an id of the same thing are refused: as flags with 2, in the file with 3", async () => {
    const flags = await cli.refused(["ensure", ...HERE, "--project-id", railway.projectId], account());
    expect(flags).toMatchObject({ exitCode: 2, code: "wrong_usage" });
    expect(flags.message).toContain("--project and --project-id");
    await cli.configure({ railway: { project: "signalbox", projectId: railway.projectId } });
    const file = await cli.refused(["ensure"], account());
    expect(file).toMatchObject({ exitCode: 3, code: "bad_config" });
    expect(file.message).toContain("projectId");
  });

  test("a file with an unknown field, or that isn't JSON, is refused with 3", async () => {
    await cli.configure({ railway: { runnerImgae: "x" } });
    const unknown = await cli.refused(["scaffold", ...HERE], account());
    expect(unknown).toMatchObject({ exitCode: 3, code: "bad_config" });
    expect(unknown.message).toContain("railway.runnerImgae");
    await cli.configure("{");
    expect(await cli.refused(["scaffold", ...HERE], account())).toMatchObject({ exitCode: 3 });
    await cli.configure({ railway: { envService: "one", runnerService: "one" } });
    expect(await cli.refused(["scaffold", ...HERE], account())).toMatchObject({ exitCode: 3 });
    const terminal = await cli.runInTerminal(["scaffold", ...HERE], account());
    expect(terminal.code).toBe(3);
    expect(terminal.text).toContain("signalbox.json");
  });

  test("a Railway that can't be reached is told as that", async () => {
    const refusal = await cli.refused(["railway", "projects"], {
      ...account(),
      RAILWAY_API_URL: "http://127.0.0.1:9",
    });
    expect(refusal).toMatchObject({ exitCode: 5, code: "railway_unreachable" });
    expect(refusal.message).toContain("127.0.0.1:9");
  });
});

describe("the baseline", () => {
  test("needs an address for the runner and something that it runs", async () => {
    const server = await cli.refused(["scaffold", ...HERE, "--runner-image", "x"], account());
    expect(server).toMatchObject({ exitCode: 2, code: "no_server" });
    const source = await cli.refused(
      ["scaffold", ...HERE, "--server", "https://edge.example.test"],
      account(),
    );
    expect(source).toMatchObject({ exitCode: 2, code: "no_runner_source" });
    const open = await cli.refused(
      ["scaffold", ...HERE, ...MAKE, "--server", "http://edge.example.test"],
      account(),
    );
    expect(open).toMatchObject({ exitCode: 2, code: "bad_server" });
    expect(mutations(railway)).toEqual([]);
  });

  test("a reserved variable on the env service is refused by its name, by ensure and by deploy", async () => {
    await cli.done(["scaffold", ...HERE, ...MAKE], account());
    const variables = railway.state.instance("pulse-env")?.variables;
    variables?.set("API_KEY", "fine").set("PORT", "80").set("PULSE_SERVER_ADDRESS", "x");
    const before = mutations(railway).length;
    const ensured = await cli.refused(["ensure", ...HERE], account());
    expect(ensured).toMatchObject({ exitCode: 1, code: "reserved_variable" });
    expect(ensured.message).toContain("pulse-env has PORT, PULSE_SERVER_ADDRESS:");
    const deployed = await cli.refused(
      ["deploy", ...HERE, "--app", "shop", "--target", "railway", "--image", "example/app"],
      { ...account(), SIGNALBOX_URL: "http://127.0.0.1:9", SIGNALBOX_TOKEN: "control-token-for-tests" },
    );
    expect(deployed).toMatchObject({ exitCode: 1, code: "reserved_variable" });
    const terminal = await cli.runInTerminal(["ensure", ...HERE], account());
    expect(terminal.code).toBe(1);
    expect(terminal.text).toContain("PORT, PULSE_SERVER_ADDRESS");
    expect(mutations(railway)).toHaveLength(before);
  });

  test("somebody else's service with the runner's name isn't touched until it is handed over", async () => {
    railway.state.addService("signalbox-runner", { variables: { THEIRS: "1" } });
    const refusal = await cli.refused(["scaffold", ...HERE, ...MAKE, "--resume"], account());
    expect(refusal).toMatchObject({ exitCode: 1, code: "foreign_service" });
    expect(mutations(railway)).toEqual([]);
    railway.state.instance("signalbox-runner")?.variables.set("SIGNALBOX_BASELINE", "runner");
    await cli.done(["scaffold", ...HERE, ...MAKE, "--resume"], account());
    expect(railway.state.variables("signalbox-runner")).toMatchObject({ THEIRS: "1" });
  });

  test("services may have other names", async () => {
    railway.state.addService("signalbox-runner", { variables: { THEIRS: "1" } });
    await cli.configure({ railway: { envService: "shop-env", runnerService: "shop-runner" } });
    await cli.done(["scaffold", ...HERE, ...MAKE], account());
    expect(railway.state.serviceNames()).toEqual(["shop-env", "shop-runner", "signalbox-runner"]);
    expect(railway.state.variables("shop-runner")["RUNNER_ID"]).toBe("shop-runner");
  });

  test("the Redis mode of a stack stays what it was made with", async () => {
    const url = "redis://user:word@redis.example.test:6379";
    const made = await cli.done(["scaffold", ...HERE, ...MAKE, "--redis-url", url], account());
    expect(made.redis).toBe("external");
    expect(JSON.stringify(made)).not.toContain("word@");
    expect(railway.state.variables("pulse-env")["PULSE_RAILWAY_REDIS_URL"]).toBe(url);
    expect(await cli.done(["ensure", ...HERE], account())).toMatchObject({
      changed: false,
      redis: "external",
    });
    const moved = await cli.done(["ensure", ...HERE], { ...account(), PULSE_RAILWAY_REDIS_URL: `${url}/1` });
    expect(moved.changes).toEqual([
      { kind: "set-variables", text: "set PULSE_RAILWAY_REDIS_URL on pulse-env" },
    ]);

    await cli.configure({ railway: { redis: "upstash" } });
    const back = await cli.refused(["ensure", ...HERE], account());
    expect(back).toMatchObject({ exitCode: 1, code: "redis_mode_differs" });
    expect(railway.state.variables("pulse-env")["PULSE_RAILWAY_REDIS_URL"]).toBe(`${url}/1`);

    railway.state.instance("pulse-env")?.variables.delete("PULSE_RAILWAY_REDIS_URL");
    await cli.configure({});
    const forth = await cli.refused(["ensure", ...HERE, "--redis-url", url], account());
    expect(forth).toMatchObject({ exitCode: 1, code: "redis_mode_differs" });
    expect(await cli.refused(["ensure", ...HERE, "--redis-url", "http://x"], account())).toMatchObject({
      exitCode: 2,
    });
  });

  test("the env service and this installation's deployments follow the runner into its group, and nobody else", async () => {
    const made = await cli.done(["scaffold", ...HERE, ...MAKE], account());
    const owner = railway.state.variables("signalbox-runner")["SIGNALBOX_OWNER"] ?? "";
    const mark = { SIGNALBOX_OWNER: owner, SIGNALBOX_APP: "shop", SIGNALBOX_DEPLOYMENT_ID: "v1" };
    railway.state.addService("shop-v1", { variables: mark });
    railway.state.addService("half-marked", { variables: { SIGNALBOX_OWNER: owner } });
    railway.state.addService("of-another", { variables: { ...mark, SIGNALBOX_OWNER: "0123456789abcdef" } });
    railway.state.addService("theirs");
    const group = railway.state.world.addGroup("stack", railway.projectId);
    const runner = railway.state.service("signalbox-runner");
    if (runner) runner.groupId = group.id;

    const moved = await cli.done(["ensure", ...HERE], account());
    expect(moved.changes).toEqual([{ kind: "group", text: "move pulse-env, shop-v1 to the runner's group" }]);
    const inGroup = railway.state.world.services.filter(({ groupId }) => groupId === group.id);
    expect(inGroup.map(({ name }) => name).sort()).toEqual(["pulse-env", "shop-v1", "signalbox-runner"]);
    expect(await cli.done(["ensure", ...HERE], account())).toMatchObject({ changed: false });
    expect(Object.values(await readSecretsFile(made))).not.toContain(owner);
  });

  test("a stack whose secrets are elsewhere isn't given new ones", async () => {
    await cli.done(["scaffold", ...HERE, ...MAKE], account());
    railway.state.world.volumes.length = 0;
    const other = await RailwayCli.create(cli.env);
    const refusal = await other.refused(["scaffold", ...HERE, ...MAKE, "--resume"], account());
    await other.remove();
    expect(refusal).toMatchObject({ exitCode: 1, code: "secrets_elsewhere" });
    await cli.done(["scaffold", ...HERE, ...MAKE, "--resume"], account());
  });
});
