import { isCancel, select, text } from "@clack/prompts";
import type { BuildFact } from "../../../functions/protocol/builds.ts";
import { ControlProblem } from "../../client/control-client.ts";
import type { CommandContext } from "../context.ts";

type Question = Extract<BuildFact, { type: "question" }>;

/** Asks whoever sits before a build, one thing at a time. Where nobody does, nothing is asked. */
export class BuildQuestions {
  readonly #context: CommandContext;
  readonly #id: string;
  #asked: Promise<void> = Promise.resolve();
  #isAtInterruption = false;

  constructor(context: CommandContext, id: string) {
    this.#context = context;
    this.#id = id;
    if (!context.canAsk) return;
    context.onInterrupt(() => {
      if (this.#isAtInterruption) return context.interrupt();
      this.#asked = this.#asked.then(() => this.#interrupted());
    });
  }

  /** Resolves while nobody is being asked: what is printed meanwhile would spoil the question. */
  get quiet(): Promise<void> {
    return this.#asked;
  }

  /** Asks what the agent asks, if nobody has answered yet. */
  async ask(question: Question): Promise<void> {
    const { canAsk, output } = this.#context;
    if (!canAsk) return;
    const control = await this.#context.control();
    if (!(await control.build(this.#id)).questions.includes(question.request)) return;
    const message = output.rendered(question.title);
    const { options } = question;
    const answer =
      options.length === 0
        ? await text({ message })
        : await select({
            message,
            options: options.map(({ id, name }) => ({ value: id, label: output.rendered(name) })),
          });
    // Ctrl-C in a prompt is no signal.
    if (isCancel(answer)) return this.#interrupted();
    await control.answerBuild(this.#id, question.request, answer).catch((error: unknown) => {
      if (!(error instanceof ControlProblem)) throw error;
      output.remark(error.message); // somebody else was faster, or the build is over
    });
  }

  async #interrupted(): Promise<void> {
    this.#isAtInterruption = true;
    try {
      const choice = await select({
        message: "The build runs on the runner. What now?",
        options: [
          { value: "leave", label: "Leave it running" },
          { value: "cancel", label: "Cancel it" },
          { value: "watch", label: "Go on watching" },
        ],
      });
      if (isCancel(choice) || choice === "leave") this.#context.interrupt();
      else if (choice === "cancel") await (await this.#context.control()).cancelBuild(this.#id);
    } finally {
      this.#isAtInterruption = false;
    }
  }
}
