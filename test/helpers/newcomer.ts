import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request, type IncomingMessage } from "node:http";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { buffer } from "node:stream/consumers";
import { expect } from "vitest";
import { z } from "zod";
import { networkVariables, pick } from "../../runner/processes/environment.ts";
import { jsonLines, Operator } from "./cli.ts";
import { newHome, removeHomes, start } from "./npm-start.ts";

export interface Deployed {
  /** What was decided, by its name. */
  decisions: Record<string, string>;
  get: (path: string, headers?: Record<string, string>) => Promise<Response>;
}

/** Somebody with the local stack and its runner, and directories to deploy. */
export class Newcomer {
  readonly operator: Operator;
  readonly root: string;
  readonly #url: string;

  private constructor(operator: Operator, root: string, url: string) {
    this.operator = operator;
    this.root = root;
    this.#url = url;
  }

  static async arrive(): Promise<Newcomer> {
    const root = await mkdtemp(join(tmpdir(), "signalbox-have-"));
    const home = await newHome();
    const stack = start({ SIGNALBOX_HOME: home, ...(await registries(root)) });
    const url = await stack.ready;
    const local = z.object({ url: z.string(), controlToken: z.string() });
    const text = await readFile(join(home, "local.json"), "utf8");
    return new Newcomer(await Operator.create(local.parse(JSON.parse(text))), root, url);
  }

  async leave(): Promise<void> {
    await removeHomes();
    await this.operator.remove();
    await rm(this.root, { recursive: true, force: true });
  }

  async write(name: string, files: Record<string, string>): Promise<string> {
    const directory = join(this.root, name);
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), text);
    }
    return directory;
  }

  /** Deploys, with no flags unless some are given. */
  async deploy(directory: string, ...flags: string[]): Promise<Deployed> {
    const { code, stdout, stderr } = await this.operator.run(["deploy", directory, ...flags, "--json"]);
    const events = stdout.trim() === "" ? [] : jsonLines(stdout);
    const said = events.filter(({ type }) => type === "log").map(({ line }) => line);
    expect({ code, stderr, said: code === 0 ? [] : said }).toEqual({ code: 0, stderr: "", said: [] });
    const result = events.at(-1);
    expect(result).toMatchObject({ type: "result", state: "active" });
    // Where flags say all, nothing was decided.
    const decisions = events.find(({ type }) => type === "decisions")?.["decisions"] ?? [];
    const list = z.array(z.object({ what: z.string(), value: z.string() })).parse(decisions);
    return {
      decisions: Object.fromEntries(list.map(({ what, value }) => [what, value])),
      get: (path, headers = {}) => this.get(String(result?.["app"]), path, headers),
    };
  }

  /** Asks an app by its name, and follows nothing. */
  async get(app: string, path: string, headers: Record<string, string> = {}): Promise<Response> {
    const { port } = new URL(this.#url);
    const host = `${app}.localhost:${port}`;
    const asked = request({ host: "127.0.0.1", port, path, headers: { host, ...headers } }).end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    const status = answer.statusCode ?? 0;
    const body = await buffer(answer);
    return new Response([204, 304].includes(status) ? null : new Uint8Array(body), {
      status,
      headers: Object.entries(answer.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value): [string, string] => [name, value]),
      ),
    });
  }
}

/** This machine's way to the registries of npm and Python; one that can't be reached isn't tried six times. */
async function registries(root: string): Promise<Record<string, string>> {
  const own = await readFile(join(homedir(), ".config/pip/pip.conf"), "utf8").catch(() => "[global]\n");
  const file = join(root, "pip.conf");
  await writeFile(file, own.replace("[global]", "[global]\nretries = 0"));
  return { ...pick(process.env, networkVariables), PIP_CONFIG_FILE: file };
}
