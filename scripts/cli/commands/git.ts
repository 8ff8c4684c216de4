import { age } from "../ages.ts";
import { command, connection } from "../command.ts";
import type { CommandContext } from "../context.ts";
import type { GitView } from "../../client/control-types.ts";

const project = { name: "PROJECT", summary: "the project's slug" } as const;

export const gitStatus = command({
  name: "git status",
  summary: "shows a project's repository: its last commit, what changed since, its remote",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    show(context, await (await context.control()).git(slug));
  },
});

export const gitRemote = command({
  name: "git remote",
  summary: "sets where a project is pushed to",
  arguments: [project, { name: "ADDRESS", summary: "https://HOST/PATH; without one, none", optional: true }],
  flags: {
    ...connection,
    branch: { type: "string", value: "BRANCH", summary: "the remote's branch (main)" },
    "after-builds": { type: "boolean", summary: "commit and push after each build that comes up" },
  },
  notes:
    "A private remote wants a login: signalbox projects env set PROJECT GIT_TOKEN --secret --for git,\n" +
    "or RUNNER_GIT_TOKENS on the runner.",
  async run(context, { flags, arguments: [slug = "", remote = null] }) {
    const branch = flags.branch === undefined ? {} : { branch: flags.branch };
    const body = { remote, ...branch, pushAfterBuild: flags["after-builds"] };
    show(context, await (await context.control()).setRemote(slug, body));
  },
});

export const gitPush = command({
  name: "git push",
  summary: "commits what changed in a project, and pushes it to its remote",
  arguments: [project],
  flags: {
    ...connection,
    message: { type: "string", short: "m", value: "TEXT", summary: "the commit's message" },
    "no-commit": { type: "boolean", summary: "push what is committed, and nothing else" },
  },
  async run(context, { flags, arguments: [slug = ""] }) {
    const message = flags["no-commit"] ? undefined : (flags.message ?? "Changes from Signalbox");
    show(context, await (await context.control()).gitPush(slug, message));
  },
});

export const gitSync = command({
  name: "git sync",
  summary: "merges what a project's remote has",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    show(context, await (await context.control()).gitSync(slug));
  },
});

export const gitDiff = command({
  name: "git diff",
  summary: "shows what changed in a project since its last commit",
  arguments: [project],
  flags: connection,
  async run(context, { arguments: [slug = ""] }) {
    const { diff, truncated } = await (await context.control()).gitDiff(slug);
    context.output.result({ diff, truncated }, () => (diff === "" ? "Nothing changed." : diff));
    if (truncated) context.output.remark("There is more.");
  },
});

function show({ output }: CommandContext, view: GitView): void {
  output.result(view, () => {
    const { remote, branch, pushAfterBuild, isRepository, commit, subject, changes, lastPush } = view;
    const lines = [
      `remote  ${remote === null ? "none" : `${remote} (${branch})${pushAfterBuild ? ", pushed after builds" : ""}`}`,
    ];
    if (!isRepository) return [...lines, "It isn't a repository yet."].join("\n");
    lines.push(commit === null ? "commit  none" : `commit  ${commit.slice(0, 10)} ${subject ?? ""}`);
    if (lastPush !== null) {
      const when = `${age(lastPush.at, Date.now())} ago`;
      const what = lastPush.commit?.slice(0, 10) ?? "";
      lines.push(
        `pushed  ${lastPush.error === null ? `${what} ${when}` : `failed ${when}: ${lastPush.error}`}`,
      );
    }
    return [...lines, ...changes.map(({ status, path }) => `${status} ${path}`)].join("\n");
  });
}
