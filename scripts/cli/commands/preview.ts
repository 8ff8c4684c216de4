import { secondsOf } from "../ages.ts";
import { command, connection } from "../command.ts";
import { Failure } from "../failure.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;

export const previewShare = command({
  name: "preview share",
  summary: "makes a link that opens a private preview for a time",
  arguments: [project],
  flags: {
    ...connection,
    for: { type: "string", value: "TIME", summary: "30m, 12h or 7d, at most 30d (1d)" },
    port: { type: "string", value: "PORT", summary: "another port that the project listens on" },
    once: { type: "boolean", summary: "opens it for the first who comes, and for nobody else" },
  },
  async run(context, { flags, arguments: [slug = ""] }) {
    const link = await (
      await context.control()
    ).sharePreview(slug, secondsOf("--for", flags.for ?? "1d"), {
      ...(flags.port === undefined ? {} : { port: portOf(flags.port) }),
      ...(flags.once ? { once: true } : {}),
    });
    context.output.result(link, () => link.url);
    const who = flags.once ? "The first who comes by it" : "Whoever has it";
    context.output.remark(`${who} gets in until ${link.expiresAt}.`);
  },
});

export const previewRevoke = command({
  name: "preview revoke",
  summary: "revokes every link of a preview",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    const after = await (await context.control()).revokePreview(slug);
    context.output.result(after, () => `Every link of ${slug} is revoked; within 5 s it opens nothing.`);
  },
});

export const previewPublic = command({
  name: "preview public",
  summary: "lets anybody see a project's preview",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    const after = await (await context.control()).changeProject(slug, { public: true });
    context.output.result(after, () => `Anybody sees ${after.previewUrl ?? slug} now.`);
  },
});

export const previewPrivate = command({
  name: "preview private",
  summary: "shows a project's preview only to those with a link",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    const after = await (await context.control()).changeProject(slug, { public: false });
    context.output.result(after, () => `Only those with a link see ${after.previewUrl ?? slug} now.`);
  },
});

function portOf(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port > 0 && port <= 65_535) return port;
  throw new Failure("usage", "bad_port", `--port ${text} isn't a port.`);
}
