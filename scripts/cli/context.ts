import { confirm, isCancel } from "@clack/prompts";
import { resolve } from "node:path";
import { SLUG_PATTERN } from "../../functions/protocol/limits.ts";
import { ControlClient } from "../client/control-client.ts";
import { loadConfig, type LoadedConfig } from "./config-file.ts";
import { Failure, LOGIN_REMEDY } from "./failure.ts";
import { loginFile, readLogins } from "./login-file.ts";
import type { Output } from "./output.ts";
import { configDirectory } from "./private-file.ts";
import { findLocalStack, resolveConnection, sameServer, type Connection } from "./settings.ts";
import { approvalsFile, approve, isApproved, type Approval } from "./trust.ts";
import { workflowTokens } from "./workflow-token.ts";

/** The process that a command runs in. */
export interface World {
  env: Record<string, string | undefined>;
  cwd: string;
  /** Whether there is somebody to ask. */
  interactive: boolean;
  /** All of standard input. */
  readInput: () => Promise<string>;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  /** Lets a command ask what Ctrl-C means; without one it ends the command. */
  interruption?: Interruption;
}

export interface Interruption {
  /** Called in place of the end. */
  taker: (() => void) | null;
  abort: () => void;
}

/** A stack on this machine answers in milliseconds. */
const LOCAL_STACK_ANSWERS_MS = 1_000;

/** What a command works with: its settings, the control API, its output. */
export class CommandContext {
  readonly output: Output;
  readonly env: World["env"];
  readonly cwd: string;
  readonly signal: AbortSignal;
  /** Whether there is somebody to ask. */
  readonly interactive: boolean;
  /** All of standard input. */
  readonly readInput: () => Promise<string>;
  /** What to say when Ctrl-C ends the command. */
  interruption = "Interrupted.";
  readonly #interruption: Interruption | undefined;
  readonly #flags: Record<string, unknown>;
  readonly #endings: (() => void)[] = [];
  #config: LoadedConfig | null = null;
  #control: ControlClient | null = null;

  constructor(world: World, flags: Record<string, unknown>, output: Output) {
    this.env = world.env;
    this.cwd = world.cwd;
    this.signal = world.signal;
    this.output = output;
    this.readInput = world.readInput;
    this.interactive = world.interactive;
    this.#interruption = world.interruption;
    this.#flags = flags;
  }

  /** `signalbox.json`, looked for from `directory` upward the first time. */
  config(directory: string = this.cwd): LoadedConfig {
    this.#config ??= loadConfig(directory, this.#flag("config"), this);
    return this.#config;
  }

  async connection(): Promise<Connection> {
    return resolveConnection({
      flags: { server: this.#flag("server"), token: this.#flag("control-token") },
      env: this.env,
      config: this.config(),
      logins: await readLogins(loginFile(this.env)),
      local: findLocalStack(this.cwd, this.env),
    });
  }

  async control(): Promise<ControlClient> {
    if (this.#control === null) {
      const { server, token, approval } = await this.connection();
      // Signed for any server of ours, so it goes to one that whoever wrote the workflow has named.
      const isNamed = server.from === "--server" || server.from === "SIGNALBOX_URL";
      const source = token?.value ?? (isNamed ? workflowTokens(this.env) : null);
      if (source === null) {
        throw new Failure(
          "unauthorized",
          "no_token",
          `There is no control token for ${server.value}. ${LOGIN_REMEDY}`,
        );
      }
      if (approval !== null) await this.agreeToServer(approval);
      const reading = { inOneLine: !this.output.json };
      this.#control = new ControlClient(server.value, source, { ...reading, from: server.from });
    }
    return this.#control;
  }

  /** The address of a local stack that runs here, where the command speaks to another server; null: there is none. */
  async otherLocalStack(): Promise<string | null> {
    const local = findLocalStack(this.cwd, this.env);
    if (local === null || this.#control === null || sameServer(local.url, this.#control.origin)) return null;
    const { origin } = new URL(local.url);
    // No token goes along: the file may be left from a stack whose port is somebody else's now.
    const answer = await fetch(`${origin}/_signalbox/healthz`, {
      redirect: "error",
      signal: AbortSignal.timeout(LOCAL_STACK_ANSWERS_MS),
    }).catch(() => null);
    await answer?.body?.cancel();
    return answer?.ok === true ? origin : null;
  }

  /** The app that was named, by flag or configuration; null: none was. */
  namedApp(): string | null {
    const flag = this.#flag("app");
    if (flag !== undefined && !SLUG_PATTERN.test(flag)) {
      throw new Failure("usage", "bad_app", `--app: ${JSON.stringify(flag)} isn't an app's name.`);
    }
    return flag ?? this.config().config.app ?? null;
  }

  /** The app that was named, else the only one that there is. */
  async app(): Promise<string> {
    const named = this.namedApp();
    if (named !== null) return named;
    const apps = await (await this.control()).apps();
    const [only, other] = apps;
    if (only === undefined) {
      throw new Failure(
        "notFound",
        "no_apps",
        "There is no app yet. Deploy one: signalbox deploy DIRECTORY.",
      );
    }
    if (other !== undefined) {
      const names = apps.map(({ name }) => name).join(", ");
      throw new Failure("ambiguous", "which_app", `There are several apps: ${names}. Say which with --app.`);
    }
    return only.name;
  }

  /** Directories of this person's secrets, which are never packed. */
  get secretDirectories(): string[] {
    const home = this.env["SIGNALBOX_HOME"];
    const named = home === undefined || home === "" ? [] : [resolve(this.cwd, home)];
    return [configDirectory(this.env), ...named];
  }

  /** Has a person agree once that tokens go to the server of a configuration file. */
  async agreeToServer(approval: Approval): Promise<void> {
    const { file, value: server } = approval;
    await this.#agree(
      approval,
      `${file} names the server ${server}, which you haven't used yet. Send your token there?`,
      new Failure(
        "unauthorized",
        "server_not_approved",
        `${file} names the server ${server}, which no token was given for. If you trust it: SIGNALBOX_URL=${server} ` +
          `or --server ${server} beside the token, or signalbox login --server ${server}.`,
      ),
    );
  }

  /**
   * Has a person agree once to what a configuration file runs on this machine. A script that calls `deploy` has agreed by
   * calling it, as one that calls `npm install` has: the command gets no token either way.
   */
  async agreeToPrepare(approval: Approval): Promise<void> {
    if (this.#flags["allow-prepare"] === true || !this.canAsk) return;
    const { file, value: command } = approval;
    await this.#agree(approval, `${file} runs \`${command}\` on this machine before packing. Run it?`);
  }

  /** Whether somebody reads what is asked here. */
  get canAsk(): boolean {
    return this.interactive && !this.output.json;
  }

  /** Ctrl-C calls this, until the command ends. */
  onInterrupt(taker: () => void): void {
    const interruption = this.#interruption;
    if (interruption === undefined) return;
    interruption.taker = taker;
    this.atEnd(() => (interruption.taker = null));
  }

  /** Ends the command, as Ctrl-C does. */
  interrupt(): void {
    this.#interruption?.abort();
  }

  async #agree(approval: Approval, question: string, refusal?: Failure): Promise<void> {
    const file = approvalsFile(this.env);
    if (await isApproved(file, approval)) return;
    if (refusal !== undefined && !this.canAsk) throw refusal;
    const answer = await confirm({ message: this.output.rendered(question), initialValue: false });
    if (isCancel(answer)) throw new Failure("interrupted", "interrupted", this.interruption);
    if (!answer) throw new Failure("failed", "declined", "Nothing was changed.");
    await approve(file, approval);
  }

  /** Asks before something is taken away. Without a terminal only `--yes` is an answer. */
  async confirm(question: string): Promise<void> {
    if (this.#flags["yes"] === true) return;
    if (!this.interactive || this.output.json) {
      throw new Failure("usage", "needs_yes", `${question} Nobody can be asked here: add --yes.`);
    }
    const answer = await confirm({ message: this.output.rendered(question), initialValue: false });
    if (isCancel(answer)) throw new Failure("interrupted", "interrupted", this.interruption);
    if (!answer) throw new Failure("failed", "declined", "Nothing was changed.");
  }

  /** Called however the command ends, before anything else is written. */
  atEnd(ending: () => void): void {
    this.#endings.push(ending);
  }

  end(): void {
    for (const ending of this.#endings.splice(0)) ending();
  }

  #flag(name: string): string | undefined {
    const value = this.#flags[name];
    return typeof value === "string" ? value : undefined;
  }
}
