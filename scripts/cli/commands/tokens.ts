import { age, secondsOf, span } from "../ages.ts";
import { command, confirmed, connection } from "../command.ts";
import { Failure } from "../failure.ts";

export const listTokens = command({
  name: "tokens",
  summary: "lists access tokens, what each is for and when it was last used",
  flags: connection,
  async run(context) {
    const tokens = await (await context.control()).tokens();
    const { output } = context;
    const now = Date.now();
    output.result({ tokens }, () =>
      tokens.length === 0
        ? "There is no access token. Create one: signalbox tokens create NAME --scope deploy:APP"
        : output.table(
            ["NAME", "SCOPES", "LAST USED", "EXPIRES", "ID"],
            tokens.map(({ name, scopes, lastUsedAt, expiresAt, id }) => [
              name,
              scopes.join(" "),
              lastUsedAt === null ? "never" : `${age(lastUsedAt, now)} ago`,
              Date.parse(expiresAt) <= now ? "expired" : `in ${span(Date.parse(expiresAt) - now)}`,
              id,
            ]),
          ),
    );
  },
});

export const createToken = command({
  name: "tokens create",
  summary: "creates an access token, and prints it this once",
  arguments: [{ name: "NAME", summary: "what the audit log calls its holder" }],
  flags: {
    ...connection,
    scope: {
      type: "string",
      multiple: true,
      value: "SCOPE",
      summary: "deploy:APP, read, operate (all but tokens and credentials) or admin; several add up",
    },
    expires: { type: "string", value: "TIME", summary: "12h, 30d, at most 366d (90d)" },
  },
  async run(context, { flags, arguments: [name = ""] }) {
    if (flags.scope.length === 0)
      throw new Failure(
        "usage",
        "no_scope",
        "tokens create needs --scope: deploy:APP, read, operate or admin.",
      );
    const expiresInSeconds = secondsOf("--expires", flags.expires ?? "90d");
    const created = await (
      await context.control()
    ).createToken({ name, scopes: flags.scope, expiresInSeconds });
    context.output.result(created, () => created.token);
    context.output.remark(
      `It is shown this once. Set it as SIGNALBOX_TOKEN; it is worth something until ${created.expiresAt}.`,
    );
  },
});

export const revokeToken = command({
  name: "tokens revoke",
  summary: "revokes an access token, at once",
  arguments: [{ name: "NAME", summary: "its name, or its id" }],
  flags: { ...connection, ...confirmed },
  async run(context, { arguments: [wanted = ""] }) {
    const control = await context.control();
    const found = (await control.tokens()).find(({ name, id }) => name === wanted || id === wanted);
    if (found === undefined)
      throw new Failure(
        "notFound",
        "unknown_token",
        `There is no access token ${wanted}. See: signalbox tokens`,
      );
    await context.confirm(`Revoke token ${found.name}? Whoever has it gets in no more.`);
    const revoked = await control.revokeToken(found.id);
    context.output.result(revoked, () => `Token ${revoked.name} is revoked.`);
  },
});
