import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig, type LoadedConfig } from "../../scripts/cli/config-file.ts";
import { configJsonSchema } from "../../scripts/cli/config-schema.ts";
import { planDeployment } from "../../scripts/cli/deploy/plan.ts";
import { withoutSecrets } from "../../scripts/cli/deploy/prepare.ts";
import { Failure } from "../../scripts/cli/failure.ts";
import { loginFile, readLogins, writeLogins, type Logins } from "../../scripts/cli/login-file.ts";
import {
  findLocalStack,
  resolveConnection,
  type LocalStack,
  type Sources,
} from "../../scripts/cli/settings.ts";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "signalbox-settings-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

function config(content: LoadedConfig["config"] = {}): LoadedConfig {
  return { file: "/app/signalbox.json", directory: "/app", config: content };
}

const noLogins: Logins = { current: null, servers: {} };
const none: Sources = { flags: {}, env: {}, config: config(), logins: noLogins, local: null };

/** All sources at once; each test takes the strongest ones away. */
const all: Sources = {
  flags: { server: "https://flag.test", token: "flag-token" },
  env: { SIGNALBOX_URL: "https://env.test/", SIGNALBOX_TOKEN: "env-token" },
  config: config({ server: "https://config.test/path" }),
  logins: {
    current: "https://login.test",
    servers: {
      "https://login.test": { token: "login-token" },
      "https://config.test": { token: "config-login" },
    },
  },
  local: { file: "local.json", url: "http://localhost:8787", controlToken: "local-token", named: false },
};

describe("where the server and its token come from", () => {
  test.each([
    ["flags first", {}, "https://flag.test", "flag-token"],
    ["then the environment", { flags: {} }, "https://env.test", "env-token"],
    [
      "then signalbox.json, with the token that was saved for that server",
      { flags: {}, env: {} },
      "https://config.test",
      "config-login",
    ],
    ["then the login", { flags: {}, env: {}, config: config() }, "https://login.test", "login-token"],
    [
      "then the local stack",
      { flags: {}, env: {}, config: config(), logins: noLogins },
      "http://localhost:8787",
      "local-token",
    ],
  ] satisfies [string, Partial<Sources>, string, string][])("%s", (_name, less, server, token) => {
    const connection = resolveConnection({ ...all, ...less });
    expect(connection.server.value).toBe(server);
    expect(connection.token?.value).toBe(token);
  });

  test("SIGNALBOX_TOKEN goes to a server that is named beside it, and to no other", () => {
    const variable = { SIGNALBOX_TOKEN: "env-token" };
    const tokenOf = (sources: Partial<Sources>): unknown =>
      resolveConnection({ ...none, env: variable, ...sources }).token?.value;
    expect(tokenOf({ flags: { server: "https://flag.test" } })).toBe("env-token");
    expect(tokenOf({ env: { ...variable, SIGNALBOX_URL: "https://env.test" } })).toBe("env-token");
    expect(tokenOf({ logins: all.logins })).toBe("login-token");
    expect(tokenOf({ logins: all.logins, config: all.config })).toBe("config-login");
    expect(tokenOf({ local: all.local })).toBe("local-token");
    expect(tokenOf({ local: { ...(all.local as LocalStack), named: true } })).toBe("env-token");
  });

  test("a configuration file's server gets a given token only after an approval", () => {
    const approval = { kind: "server", file: "/app/signalbox.json", value: "https://config.test" };
    for (const given of [{ flags: { token: "t" } }, { env: { SIGNALBOX_TOKEN: "t" } }]) {
      expect(resolveConnection({ ...none, config: all.config, ...given })).toMatchObject({ approval });
    }
    const known = { ...none, config: all.config, logins: all.logins };
    expect(resolveConnection(known).approval).toBeNull();
    expect(
      resolveConnection({ ...known, env: { SIGNALBOX_URL: "https://config.test" } }).approval,
    ).toBeNull();
  });

  test("a token that was saved for one server isn't used for another", () => {
    const { token } = resolveConnection({ ...all, flags: { server: "https://other.test" }, env: {} });
    expect(token).toBeNull();
  });

  test("the local stack's token goes to the local stack by any of its names", () => {
    const named = { ...none, local: all.local, env: { SIGNALBOX_URL: "http://127.0.0.1:8787" } };
    expect(resolveConnection(named).token?.value).toBe("local-token");
    expect(resolveConnection({ ...named, env: { SIGNALBOX_URL: "http://127.0.0.1:8788" } }).token).toBeNull();
  });

  test("an empty variable is as good as none", () => {
    expect(resolveConnection({ ...all, flags: {}, env: { SIGNALBOX_URL: "" } }).server.value).toBe(
      "https://config.test",
    );
  });

  test("none at all: usage", () => {
    expect(() => resolveConnection(none)).toThrow(
      expect.objectContaining({ reason: "usage", code: "no_server" }),
    );
  });

  test.each(["ftp://x.test", "x.test", "https://user:password@x.test"])(
    "%s isn't a server's address",
    (value) => {
      expect(() => resolveConnection({ ...none, flags: { server: value } })).toThrow("--server");
    },
  );

  test("a bad address in signalbox.json is the file's mistake", () => {
    expect(() => resolveConnection({ ...none, config: config({ server: "x" }) })).toThrow(
      expect.objectContaining({ reason: "config" }),
    );
  });
});

describe("the local stack", () => {
  test("is found upward in a repository, else here only, or where SIGNALBOX_HOME says", async () => {
    await mkdir(join(root, ".signalbox"));
    await mkdir(join(root, "a/b"), { recursive: true });
    const file = join(root, ".signalbox/local.json");
    await writeFile(file, JSON.stringify({ url: "http://localhost:1", controlToken: "t", other: 1 }));
    expect(findLocalStack(join(root, "a/b"), {})).toBeNull();
    expect(findLocalStack(root, {})).toMatchObject({ file });
    await mkdir(join(root, ".git"));
    expect(findLocalStack(join(root, "a/b"), {})).toMatchObject({ file, url: "http://localhost:1" });
    expect(findLocalStack(join(root, "a/b"), { SIGNALBOX_HOME: join(root, "elsewhere") })).toBeNull();
    expect(findLocalStack("/", { SIGNALBOX_HOME: join(root, ".signalbox") })).toMatchObject({ file });
  });
});

test.each(["https://elsewhere.test", "http://192.0.2.1:8787"])(
  "a local.json that names %s isn't one that npm start wrote",
  async (url) => {
    await mkdir(join(root, ".signalbox"));
    await writeFile(join(root, ".signalbox/local.json"), JSON.stringify({ url, controlToken: "t" }));
    expect(() => findLocalStack(root, {})).toThrow(expect.objectContaining({ code: "bad_local_stack" }));
  },
);

describe("the login file", () => {
  test("can be read by its owner only, also where it was wider before", async () => {
    const file = loginFile({ XDG_CONFIG_HOME: root });
    const saved: Logins = { current: "https://a.test", servers: { "https://a.test": { token: "secret" } } };
    expect(await readLogins(file)).toEqual(noLogins);
    await writeLogins(file, saved);
    await chmod(file, 0o644);
    await writeLogins(file, saved);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readLogins(file)).toEqual(saved);
  });

  test("that is damaged is said so, without what is in it", async () => {
    const file = loginFile({ HOME: root });
    await writeLogins(file, noLogins);
    await writeFile(file, "secret-token");
    const error: unknown = await readLogins(file).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(Failure);
    expect(String(error)).not.toContain("secret-token");
  });
});

describe("signalbox.json", () => {
  test("outside of a repository is found here only", async () => {
    await mkdir(join(root, "a"));
    await writeFile(join(root, "signalbox.json"), '{"app":"above"}');
    const here = { cwd: root, env: {} };
    expect(loadConfig(join(root, "a"), undefined, here)).toMatchObject({ file: null, config: {} });
    expect(loadConfig(root, undefined, here).config.app).toBe("above");
  });

  test.runIf(process.getuid?.() === 0)("of another user counts only when it is named", async () => {
    const file = join(root, "signalbox.json");
    await writeFile(file, '{"app":"foreign"}');
    await chown(file, 12_345, 12_345);
    const load = (named: string | undefined, env: Record<string, string>) =>
      loadConfig(root, named, { cwd: root, env });
    expect(() => load(undefined, {})).toThrow(expect.objectContaining({ code: "foreign_config" }));
    expect(load(file, {}).config.app).toBe("foreign");
    expect(load(undefined, { SUDO_UID: "12345" }).config.app).toBe("foreign");
    await mkdir(join(root, ".signalbox"));
    const local = join(root, ".signalbox/local.json");
    await writeFile(local, JSON.stringify({ url: "http://localhost:1", controlToken: "t" }));
    await chown(local, 12_345, 12_345);
    expect(findLocalStack(root, {})).toBeNull();
  });

  test("is found upward, but not beyond the repository", async () => {
    const here = { cwd: root, env: {} };
    await mkdir(join(root, "repository/.git"), { recursive: true });
    await mkdir(join(root, "repository/a/b"), { recursive: true });
    await writeFile(join(root, "signalbox.json"), '{"app":"outside"}');
    expect(loadConfig(join(root, "repository/a"), undefined, here)).toMatchObject({ file: null, config: {} });
    await writeFile(join(root, "repository/signalbox.json"), '{"app":"inside"}');
    expect(loadConfig(join(root, "repository/a/b"), undefined, here)).toMatchObject({
      directory: join(root, "repository"),
      config: { app: "inside" },
    });
    expect(loadConfig(join(root, "repository"), "signalbox.json", here).config.app).toBe("outside");
  });

  test("its JSON Schema in docs/ is what the validator says; npm run schema writes it", async () => {
    const published: unknown = JSON.parse(
      await readFile(new URL("../../docs/signalbox.schema.json", import.meta.url), "utf8"),
    );
    expect(published).toEqual(configJsonSchema());
  });

  test("the examples' files are valid", () => {
    for (const name of ["live-counter", "plain-http"]) {
      const directory = new URL(`../../examples/${name}`, import.meta.url).pathname;
      expect(loadConfig(directory, undefined, { cwd: directory, env: {} }).config.app).toBe(name);
    }
  });
});

describe("what is deployed", () => {
  test("flags go before signalbox.json", () => {
    const loaded = config({
      app: "shop",
      deploymentName: "main",
      start: "node a.mjs",
      env: { A: "1", B: "1" },
      labels: { region: "eu" },
      runnerId: "one",
      hosts: ["shop.test"],
      contract: "none",
      healthPath: "/up",
    });
    const plan = planDeployment(
      { start: "node b.mjs", env: ["B=2=3"], runner: "two", name: "test" },
      loaded,
      null,
    );
    expect(plan).toMatchObject({
      app: "shop",
      name: "test",
      promote: true,
      appConfig: { hosts: ["shop.test"], contract: "none", healthPath: "/up" },
      target: {
        kind: "runner",
        runnerId: "two",
        start: "node b.mjs",
        labels: { region: "eu" },
        settings: { env: { A: "1", B: "2=3" }, healthPath: "/up" },
        source: { directory: "/app", prepare: null },
      },
    });
    expect(planDeployment({}, loaded, null).name).toBe("main");
  });

  test.each([
    [{ start: "node a.mjs", host: "local" }, "local"],
    [{ target: "url", url: "https://backend.test", host: "own" }, "own"],
    [{ target: "railway", railway: { image: "a/b:1" }, host: "own" }, "own"],
  ] as const)("host says under which name the server is asked: %j", (file, host) => {
    expect(planDeployment({}, config(file), null).target.settings).toMatchObject({ host });
  });

  test.each([
    [{ start: "node a.mjs", host: "own" }, "isn't for target runner: write local"],
    [{ target: "url", url: "https://backend.test", host: "local" }, "isn't for target url: write own"],
  ] as const)("a host that the target doesn't have is refused: %j", (file, message) => {
    expect(() => planDeployment({}, config(file), null)).toThrow(message);
  });

  test("without any file: the directory's name, and its start script", async () => {
    const directory = join(root, "My Shop_1");
    await mkdir(directory);
    await writeFile(join(directory, "package.json"), '{"scripts":{"start":"node x"}}');
    const plan = planDeployment({}, { file: null, directory, config: {} }, directory);
    expect(plan).toMatchObject({ app: "my-shop-1", name: "prod", target: { start: "npm start" } });
  });

  test.each([
    [{ image: "ghcr.io/a/b:1" }, {}, { image: "ghcr.io/a/b:1" }],
    [{ image: "ghcr.io/a/b:2" }, { railway: { repo: { repo: "a/b" } } }, { image: "ghcr.io/a/b:2" }],
    [{}, { railway: { repo: { repo: "a/b", branch: "main" } } }, { repo: { repo: "a/b", branch: "main" } }],
    [{}, {}, { source: { directory: "/app", prepare: null } }],
  ])("on Railway: %j %j", (flags, more, from) => {
    const { target } = planDeployment({ target: "railway", ...flags }, config({ app: "x", ...more }), null);
    expect(target).toMatchObject({ kind: "railway", from });
  });

  test("after a local build its output is what is packed", () => {
    const loaded = config({ app: "x", start: "node .", prepare: { command: "make", output: "dist" } });
    expect(planDeployment({}, loaded, null).target).toMatchObject({
      source: {
        directory: "/app/dist",
        prepare: { command: "make", cwd: "/app", file: "/app/signalbox.json" },
      },
    });
  });

  test.each(["..", "../other", "/etc", "link"])("the output of a local build can't be %s", async (output) => {
    await symlink("/etc", join(root, "link"));
    const loaded = { file: join(root, "signalbox.json"), directory: root, config: {} };
    const prepare = { command: "true", output };
    expect(() => planDeployment({}, { ...loaded, config: { app: "x", start: "x", prepare } }, null)).toThrow(
      "isn't in the directory of this file",
    );
  });

  test("a local build sees no token", () => {
    const kept = {
      PATH: "/bin",
      HOME: "/root",
      HTTPS_PROXY: "http://me:secret@proxy.test",
      NODE_ENV: "test",
    };
    const hidden = {
      SIGNALBOX_TOKEN: "1",
      RAILWAY_TOKEN: "1",
      RAILWAY_API_TOKEN: "1",
      RUNNER_SHARED_SECRET: "1",
      CLOUDFLARE_API_KEY: "1",
      ANTHROPIC_API_KEY: "1",
      AWS_SECRET_ACCESS_KEY: "1",
      PGPASSWORD: "1",
      GITHUB_PAT: "1",
      REDIS_URL: "redis://default:secret@host:6379",
    };
    expect(withoutSecrets({ ...kept, ...hidden })).toEqual(kept);
  });

  test("package.json may begin with a byte order mark, as npm reads it", async () => {
    await writeFile(join(root, "package.json"), '\uFEFF{"name":"shop","scripts":{"start":"node x"}}');
    const plan = planDeployment({}, { file: null, directory: root, config: {} }, root);
    expect(plan).toMatchObject({ app: "shop", target: { start: "npm start" } });
  });

  test("files to serve are said by flag or file, and a start command is another answer", async () => {
    const here = (more: object = {}) => ({ file: null, directory: root, config: { app: "x", ...more } });
    const startOf = (plan: ReturnType<typeof planDeployment>): string | undefined =>
      plan.target.kind === "runner" ? plan.target.start : undefined;
    expect(startOf(planDeployment({ static: "a b" }, here({ start: "node x" }), null))).toBe(
      "signalbox-runner static 'a b'",
    );
    expect(startOf(planDeployment({}, here({ static: "www" }), null))).toBe("signalbox-runner static www");
    expect(startOf(planDeployment({ start: "node x" }, here({ static: "www" }), null))).toBe("node x");
    expect(() => planDeployment({ start: "node x", static: "www" }, here(), null)).toThrow(
      "give one of them",
    );
  });

  test("a workspace's member is sent with its workspace, and its commands run where it is", async () => {
    const member = join(root, "apps/web");
    await mkdir(member, { recursive: true });
    await writeFile(join(root, "package.json"), '{"workspaces":["apps/*"]}');
    await writeFile(join(member, "package.json"), '{"name":"web","scripts":{"build":"x","start":"node x"}}');
    const loaded = { file: null, directory: member, config: {} };
    expect(planDeployment({}, loaded, member)).toMatchObject({
      app: "web",
      target: {
        source: { directory: root },
        start: "cd apps/web && npm start",
        settings: { build: "cd apps/web && npm run build", env: { NODE_ENV: "production" } },
      },
    });
    const given = planDeployment({ start: "a || b", build: "make", env: ["NODE_ENV=test"] }, loaded, member);
    expect(given).toMatchObject({
      target: {
        start: "cd apps/web || exit; a || b",
        settings: { build: "cd apps/web && make", env: { NODE_ENV: "test" } },
      },
      decisions: [{ what: "root" }],
    });
    const alone = { source: { directory: member }, start: "npm start" };
    expect(planDeployment({ install: "npm i" }, loaded, member).target).toMatchObject(alone);
    // A repository of its own ends where it begins, and one around both is looked through.
    await mkdir(join(member, ".git"));
    expect(planDeployment({}, loaded, member).target).toMatchObject(alone);
    await rm(join(member, ".git"), { recursive: true });
    await mkdir(join(root, ".git"));
    expect(planDeployment({}, loaded, member).target).toMatchObject({ source: { directory: root } });
  });

  test("a variable without a name is a mistake in the flags", () => {
    expect(() => planDeployment({ env: ["=1"], start: "x" }, config({ app: "x" }), null)).toThrow(
      expect.objectContaining({ reason: "usage" }),
    );
  });
});
