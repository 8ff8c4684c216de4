import { createLogUpdate } from "log-update";
import { printableLine } from "../../../functions/protocol/printable.ts";
import { bytes, duration } from "../ages.ts";
import type { Output } from "../output.ts";

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const FRAME_MS = 100;
const BAR_WIDTH = 24;
/** What is kept to be shown again after a failure. */
const LAST_LINES = 20;

export type StepStatus = "started" | "waiting" | "done" | "failed";

/** What goes on, as a person or a program sees it: steps with their times, a bar, a build's log. */
export class Display {
  readonly lastLines: string[] = [];
  /** How long each step took, in milliseconds. */
  readonly times: Record<string, number> = {};
  readonly #output: Output;
  readonly #live: ReturnType<typeof createLogUpdate> | null;
  #current: { step: string; since: number; detail: string } | null = null;
  #timer: NodeJS.Timeout | null = null;
  #frame = 0;

  constructor(output: Output) {
    this.#output = output;
    this.#live = output.live ? createLogUpdate(process.stdout, { showCursor: true }) : null;
  }

  /** One step's progress. `at` is when it was, for what comes from a stream. */
  step(step: string, status: StepStatus, detail = "", at: number = Date.now()): void {
    const shown = printableLine(detail.split("\n")[0] ?? "");
    if (this.#current?.step !== step) {
      this.#current = { step, since: at, detail: shown };
      if (!this.#output.json && !this.#live && status === "started")
        this.#output.say(`  ${printableLine(step)} …`);
    }
    const { since } = this.#current;
    this.#current.detail = shown;
    const ended = status === "done" || status === "failed";
    if (ended) this.times[step] = at - since;
    this.#output.event(
      {
        type: "step",
        step,
        status,
        detail,
        at: new Date(at).toISOString(),
        ...(ended ? { elapsedMs: at - since } : {}),
      },
      () => null,
    );
    if (ended) {
      this.#current = null;
      this.#persist(this.#endLine(printableLine(step), status, shown, at - since));
    }
    this.#draw();
  }

  /** How far an upload is. */
  transfer(sent: number, total: number): void {
    if (this.#current === null || !this.#live) return;
    const filled = total === 0 ? BAR_WIDTH : Math.round((sent / total) * BAR_WIDTH);
    const bar = `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)}`;
    this.#current.detail = `${bar} ${bytes(sent)} of ${bytes(total)}`;
  }

  /** A line of a build's output. */
  log(line: string, at: number = Date.now()): void {
    this.lastLines.push(line);
    if (this.lastLines.length > LAST_LINES) this.lastLines.shift();
    if (this.#output.json) {
      this.#output.event({ type: "log", line, at: new Date(at).toISOString() }, () => null);
    } else {
      this.#persist(this.#output.quoted(line));
      this.#draw();
    }
  }

  state(state: string, reason: string | null, at: number): void {
    this.#output.event({ type: "state", state, reason, at: new Date(at).toISOString() }, () => null);
  }

  /** Takes away what is only there while something goes on. */
  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#current = null;
    this.#live?.clear();
    this.#live?.done();
  }

  #endLine(step: string, status: "done" | "failed", detail: string, elapsedMs: number): string {
    const { style } = this.#output;
    const mark = status === "done" ? style.green("✓") : style.red("✗");
    const rest = [detail, style.dim(duration(elapsedMs))].filter((part) => part !== "");
    return `${mark} ${step.padEnd(10)} ${rest.join("  ")}`;
  }

  #persist(line: string): void {
    if (this.#output.json) return;
    // Taken away first: what is drawn in place would otherwise stay above.
    this.#live?.clear();
    this.#output.say(line);
  }

  #draw(): void {
    if (!this.#live || this.#output.json) return;
    if (this.#current === null) {
      this.#live.clear();
      return;
    }
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS).unref();
    const { style } = this.#output;
    const { step, since, detail } = this.#current;
    const spinner = style.cyan(FRAMES[this.#frame++ % FRAMES.length] ?? "");
    const line = `${spinner} ${printableLine(step).padEnd(10)} ${detail}  ${style.dim(duration(Date.now() - since))}`;
    this.#live(this.#output.rendered(line));
  }
}
