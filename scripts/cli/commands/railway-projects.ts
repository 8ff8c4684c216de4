import { nodesOf } from "../../../functions/railway/operation.ts";
import { command } from "../command.ts";
import { visibleProjects } from "../railway/projects.ts";
import { openRailway } from "../railway/token.ts";
import { railwayPlace } from "../railway/settings.ts";

export const railwayProjects = command({
  name: "railway projects",
  summary: "the Railway projects and environments that the token sees",
  flags: { token: railwayPlace.token },
  async run(context, { flags }) {
    const railway = await openRailway(flags.token, context.env);
    const projects = (await visibleProjects(railway, null)).map(
      ({ id, name, workspaceName, environments }) => ({
        id,
        name,
        workspace: workspaceName,
        environments: nodesOf(environments),
      }),
    );
    context.output.result({ projects, token: { from: railway.from, kind: railway.client.token.kind } }, () =>
      projects.length === 0
        ? `The token from ${railway.from} sees no Railway project.`
        : context.output.table(
            ["PROJECT", "ID", "WORKSPACE", "ENVIRONMENTS"],
            projects.map(({ id, name, workspace, environments }) => [
              name,
              id,
              workspace ?? "",
              environments.map((environment) => environment.name).join(", "),
            ]),
          ),
    );
  },
});
