import type { AppCommand } from "../apps/command.ts";
import { commitChange } from "./commit-change.ts";
import { appChangeView, requireApp } from "./apps.ts";
import type { ControlContext } from "./context.ts";
import type { Idempotency } from "./idempotency.ts";
import { controlRouter } from "./openapi.ts";
import { setCanary, clearCanary, pause, resume, setMinimum } from "./routes/traffic.ts";

export const traffic = controlRouter()
  .openapi(setCanary, async (c) => {
    const command = { type: "set-canary", ...c.req.valid("json") } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.canary"), 200);
  })
  .openapi(clearCanary, async (c) => {
    const command = { type: "clear-canary" } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.canary-clear"), 200);
  })
  .openapi(pause, async (c) => {
    const { mode = "hold", ...rest } = c.req.valid("json");
    const command = { type: "pause", mode, ...rest } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.pause"), 200);
  })
  .openapi(resume, async (c) => {
    const command = { type: "resume" } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.resume"), 200);
  })
  .openapi(setMinimum, async (c) => {
    const command = { type: "set-minimum", id: c.req.valid("json").id } as const;
    return c.json(await change(c, c.req.valid("param").app, command, "app.minimum"), 200);
  });

async function change(
  c: { env: { control: ControlContext }; var: { idempotency: Idempotency } },
  app: string,
  command: AppCommand,
  action: string,
) {
  const { stored } = await requireApp(c.env.control, app);
  return commitChange(c.env.control, c.var.idempotency, app, command, action, appChangeView(stored));
}
