import { changeHub } from "../changes/binding.ts";
import { callHub } from "../runners/reach-hub.ts";
import { callController, type ControlContext } from "./context.ts";
import { controlRouter } from "./openapi.ts";
import { read } from "./routes/events.ts";
import { watchedRunner } from "./runner-schemas.ts";
import { withLooks } from "./watch.ts";

export const events = controlRouter().openapi(read, async (c) => {
  const { control } = c.env;
  const { watch } = c.req.valid("query");
  const changes = await changeHub(control.env).fetch("https://changes/");
  if (watch.length === 0 || changes.body === null) return changes;
  const look = (topic: string): Promise<object> => lookAt(topic, control);
  return new Response(withLooks(changes.body, { topics: watch, look, signal: c.req.raw.signal }), {
    headers: changes.headers,
  });
});

async function lookAt(topic: string, { env }: ControlContext): Promise<object> {
  const [kind, name = ""] = topic.split(":", 2);
  if (kind === "app") return { deployments: await callController(env, name, (one) => one.sessions(name)) };
  return watchedRunner(await callHub(env, name, (hub) => hub.view()));
}
