import type { Runner } from "../runner.ts";
import { version } from "../version.ts";
import { divertLines } from "./lines.ts";
import { openAddress } from "./open-address.ts";
import { addressOfBuild, buildsOf } from "./overview.ts";
import { paintLine } from "./paint.ts";
import { viewLines, type ViewState } from "./view.ts";

const REDRAW_MS = 500;
/** Lines of the log that can be looked through. */
const LOG_KEPT = 1_000;
/** Of them, those that stay on the terminal when the view is gone. */
const LINES_LEFT = 20;
const NOTICE_MS = 4_000;
const FILTER_LIMIT = 60;

const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
/** Terminals that know it show a redraw at once; others ignore it. */
const [BEGIN, END] = ["\u001b[?2026h\u001b[H", "\u001b[J\u001b[?2026l"];

/** What a runner on a laptop shows: all that it does, on a screen of its own, and keys for what one does by hand. */
export class LiveView {
  readonly #log: string[] = [];
  #runner: Runner | null = null;
  #runnerId = "";
  #server = "";
  #selected: string | null = null;
  #filter = "";
  #isTyping = false;
  #notice = { text: "", until: 0 };
  #timer: NodeJS.Timeout | undefined;
  #isOpen = false;

  /** Only where a person sits at a terminal that can be drawn on. */
  static fits(serviceMode: boolean): boolean {
    const { stdin, stdout, env } = process;
    const isTerminal = stdin.isTTY && stdout.isTTY && env["TERM"] !== "dumb";
    return !serviceMode && isTerminal && stdout.columns > 0;
  }

  show(runner: Runner, runnerId: string, server: string): void {
    this.#runner = runner;
    this.#runnerId = runnerId;
    this.#server = server;
    this.#isOpen = true;
    divertLines((line) => this.#line(line));
    const { stdin, stdout } = process;
    stdout.write(ENTER);
    stdin.setRawMode(true);
    stdin.setEncoding("utf8");
    stdin.on("data", this.#keys);
    stdin.resume();
    stdout.on("resize", this.#draw);
    // Whatever ends this process, the terminal is as it was.
    process.once("exit", this.close);
    this.#timer = setInterval(this.#draw, REDRAW_MS);
    this.#draw();
  }

  readonly close = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearInterval(this.#timer);
    process.removeListener("exit", this.close);
    process.stdin.off("data", this.#keys);
    process.stdin.setRawMode(false);
    process.stdin.pause();
    process.stdout.off("resize", this.#draw);
    process.stdout.write(`${LEAVE}${this.#log.slice(-LINES_LEFT).join("\n")}\n`);
    divertLines(null);
  };

  #line(text: string): void {
    this.#log.push(...text.split("\n"));
    if (this.#log.length > LOG_KEPT) this.#log.splice(0, this.#log.length - LOG_KEPT);
  }

  readonly #draw = (): void => {
    const runner = this.#runner;
    if (!this.#isOpen || runner === null) return;
    const { columns, rows } = process.stdout;
    const state = this.#state(runner);
    const isColoured = (process.env["NO_COLOR"] ?? "") === "";
    // The last column stays free: a terminal would break the line after it.
    const lines = viewLines(state, rows).map((line) => paintLine(line, columns - 1, isColoured));
    process.stdout.write(`${BEGIN}${lines.map((line) => `${line}\u001b[K`).join("\r\n")}${END}`);
  };

  #state(runner: Runner): ViewState {
    const now = Date.now();
    const overview = runner.overview();
    const builds = buildsOf(overview);
    if (!builds.some(({ id }) => id === this.#selected)) this.#selected = builds[0]?.id ?? null;
    return {
      runnerId: this.#runnerId,
      version,
      server: this.#server,
      connection: runner.connection.state,
      isDraining: runner.isDraining,
      overview,
      selected: this.#selected,
      log: this.#log,
      filter: this.#filter,
      isTyping: this.#isTyping,
      notice: now < this.#notice.until ? this.#notice.text : "",
      now,
    };
  }

  readonly #keys = (text: string): void => {
    for (const key of text.match(/\u001b(?:\[[\d;]*[A-Za-z~]|O[A-Za-z])|[^]/gu) ?? []) {
      if (this.#isTyping) this.#type(key);
      else this.#press(key);
    }
    this.#draw();
  };

  #type(key: string): void {
    if (key === "\r" || key === "\n") this.#isTyping = false;
    else if (key === "\u001b" || key === "\u0003") {
      this.#isTyping = false;
      this.#filter = "";
    } else if (key === "\u007f" || key === "\b") this.#filter = this.#filter.slice(0, -1);
    else if (key >= " " && !key.startsWith("\u001b") && this.#filter.length < FILTER_LIMIT)
      this.#filter += key;
  }

  #press(key: string): void {
    switch (key) {
      case "n":
      case "\u001b[B":
        return this.#select(1);
      case "p":
      case "\u001b[A":
        return this.#select(-1);
      case "o":
        return this.#open();
      case "c":
        return this.#copy();
      case "/":
        this.#isTyping = true;
        return;
      case "\u001b":
        this.#filter = "";
        return;
      case "r":
        this.#say("connecting anew");
        this.#runner?.connection.restart();
        return;
      case "q":
      case "\u0003":
        this.#say("draining; q again stops at once");
        // The one way to end a runner, whoever asks for it.
        process.kill(process.pid, "SIGINT");
    }
  }

  #select(step: number): void {
    const builds = buildsOf(this.#runner?.overview() ?? { deployments: [], projects: [] });
    const at = builds.findIndex(({ id }) => id === this.#selected);
    this.#selected = builds[Math.max(0, Math.min(builds.length - 1, at + step))]?.id ?? null;
  }

  #open(): void {
    const address = this.#address();
    if (address === null) return;
    this.#say(openAddress(address) ? `opens ${address}` : `nothing here opens ${address}`);
  }

  /** By the terminal itself, which reaches the clipboard of the machine that it runs on. */
  #copy(): void {
    const address = this.#address();
    if (address === null) return;
    process.stdout.write(`\u001b]52;c;${Buffer.from(address).toString("base64")}\u0007`);
    this.#say(`copied ${address}`);
  }

  #address(): string | null {
    const overview = this.#runner?.overview();
    const build = overview && buildsOf(overview).find(({ id }) => id === this.#selected);
    const address = overview && build ? addressOfBuild(overview, build) : null;
    if (address === null) this.#say("no dev server of a selected build runs");
    return address;
  }

  #say(text: string): void {
    this.#notice = { text, until: Date.now() + NOTICE_MS };
  }
}
