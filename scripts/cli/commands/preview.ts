import { secondsOf } from "../ages.ts";
import { command, connection } from "../command.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;

export const previewShare = command({
  name: "preview share",
  summary: "makes a link that opens a private preview for a time",
  arguments: [project],
  flags: {
    ...connection,
    for: { type: "string", value: "TIME", summary: "30m, 12h or 7d, at most 30d (1d)" },
  },
  async run(context, { flags, arguments: [slug = ""] }) {
    const link = await (await context.control()).sharePreview(slug, secondsOf("--for", flags.for ?? "1d"));
    context.output.result(link, () => link.url);
    context.output.remark(`Whoever has it gets in until ${link.expiresAt}.`);
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
