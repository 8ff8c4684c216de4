import { isCancel, password } from "@clack/prompts";
import { ControlClient } from "../../client/control-client.ts";
import { command, connection } from "../command.ts";
import { Failure } from "../failure.ts";
import { loginFile, readLogins, writeLogins } from "../login-file.ts";
import type { CommandContext } from "../context.ts";

export const login = command({
  name: "login",
  summary: "checks a control token and keeps it for this server",
  flags: { ...connection, remove: { type: "boolean", summary: "forget this server's token" } },
  notes: "The token is asked for, or read from SIGNALBOX_TOKEN or, without a terminal, from standard input.",
  async run(context, { flags }) {
    const file = loginFile(context.env);
    const logins = await readLogins(file);
    const { server, token: known, approval } = await context.connection();
    if (flags.remove) {
      if (logins.servers[server.value] === undefined) {
        throw new Failure("notFound", "no_login", `There is no login for ${server.value}.`);
      }
      const { [server.value]: _, ...servers } = logins.servers;
      const current = logins.current === server.value ? (Object.keys(servers)[0] ?? null) : logins.current;
      await writeLogins(file, { current, servers });
      context.output.result(
        { server: server.value, removed: true },
        () => `The token for ${server.value} is forgotten.`,
      );
      return;
    }
    if (approval !== null) await context.agreeToServer(approval);
    // One that is saved or the local stack's isn't what is logged in with: it may be the one that is to be replaced.
    const given = known !== null && ["--control-token", "SIGNALBOX_TOKEN"].includes(known.from);
    const token = given ? known.value : await ask(context, server.value);
    await new ControlClient(server.value, token).apps();
    await writeLogins(file, {
      current: server.value,
      servers: { ...logins.servers, [server.value]: { token } },
    });
    context.output.result(
      { server: server.value, file },
      () => `Logged in to ${server.value}. The token is kept in ${file}.`,
    );
  },
});

async function ask(context: CommandContext, server: string): Promise<string> {
  if (context.interactive && !context.output.json) {
    const answer = await password({ message: `Control token of ${server}` });
    if (isCancel(answer)) throw new Failure("interrupted", "interrupted", "Nothing was saved.");
    return answer;
  }
  const token = (await context.readInput()).trim();
  if (token === "") {
    throw new Failure(
      "usage",
      "wrong_usage",
      "There is no token: give it on standard input, in SIGNALBOX_TOKEN or with --control-token.",
    );
  }
  return token;
}
