import { expect } from "vitest";
import type { BuildEvent, BuildView } from "../../functions/protocol/builds.ts";
import { readEvents } from "./event-stream.ts";
import { CONTROL_TOKEN, type TestStack } from "./stack.ts";

/** Projects and builds of a stack, as an operator sees them. */
export class BuildsOf {
  readonly #stack: TestStack;
  readonly #name: string;
  #count = 0;

  /** `name`: where several runners share the stack. */
  constructor(stack: TestStack, name = "project") {
    this.#stack = stack;
    this.#name = name;
  }

  async newProject(fields: Record<string, unknown> = {}): Promise<string> {
    const slug = `${this.#name}-${++this.#count}`;
    const { status, body } = await this.#stack.api("POST", "/projects", { slug, ...fields });
    expect(body).toMatchObject({ slug });
    expect(status).toBe(201);
    return slug;
  }

  async begin(slug: string, prompt: string, fields: Record<string, unknown> = {}): Promise<string> {
    const { status, body } = await this.#stack.api("POST", `/projects/${slug}/builds`, { prompt, ...fields });
    expect(body).toMatchObject({ project: slug, prompt });
    expect(status).toBe(202);
    return String(body["id"]);
  }

  async view(id: string): Promise<BuildView> {
    return (await this.#stack.api("GET", `/builds/${id}`)).body as unknown as BuildView;
  }

  /** All events of a build, to its end; `heard` is told each as it comes. */
  async events(
    id: string,
    after = 0,
    heard?: (event: BuildEvent) => Promise<void> | void,
  ): Promise<BuildEvent[]> {
    const response = await fetch(`${this.#stack.origin}/_signalbox/api/v1/builds/${id}/events`, {
      headers: {
        authorization: `Bearer ${CONTROL_TOKEN}`,
        ...(after > 0 && { "last-event-id": String(after) }),
      },
    });
    const events: BuildEvent[] = [];
    for await (const { event, data } of readEvents(response)) {
      if (event === "end") break;
      if (event !== "build") continue;
      const one = JSON.parse(data) as BuildEvent;
      events.push(one);
      await heard?.(one);
    }
    return events;
  }

  async run(slug: string, prompt: string, fields: Record<string, unknown> = {}): Promise<BuildEvent[]> {
    const events = await this.events(await this.begin(slug, prompt, fields));
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    return events;
  }
}

export function saidBy(events: BuildEvent[]): string {
  return events
    .map((event) => (event.type === "message" && event.from === "agent" ? event.text : ""))
    .join("");
}
