import { RailwayError } from "../../../functions/railway/error.ts";
import { nodesOf } from "../../../functions/railway/operation.ts";
import {
  project as projectQuery,
  type VisibleProject,
} from "../../../functions/railway/baseline-operations.ts";
import { Failure } from "../failure.ts";
import { visibleProjects, visibleWorkspaces } from "./projects.ts";
import type { Named, RailwayAccess, RailwayPlace } from "./token.ts";

/** How one thing is named: by its name or by its id, never by both. */
export interface Choice {
  by: "name" | "id";
  value: string;
  /** `--project`, or `railway.project` in signalbox.json. */
  from: string;
}

export interface PlaceChoice {
  workspace: Choice | null;
  project: Choice | null;
  environment: Choice | null;
}

const kinds = ["workspace", "project", "environment"] as const;
type Kind = (typeof kinds)[number];
/** The flags and, under `railway` in signalbox.json, the fields that choose the place. */
export type PlaceFields = { [Field in Kind | `${Kind}Id`]?: string | undefined };

/** Merges flags and the config file; for each thing a flag of either form hides what the file says. */
export function choosePlace(flags: PlaceFields, file: PlaceFields): PlaceChoice {
  const choice = (kind: Kind): Choice | null =>
    pick(
      flags,
      kind,
      kind === "workspace" ? "--workspace" : `--${kind}`,
      (name, id) =>
        new Failure("usage", "wrong_usage", `${name} and ${id} name the same thing: give one of them.`),
      (form) => form.replace("Id", "-id"),
    ) ??
    pick(
      file,
      kind,
      `railway.${kind}`,
      (name, id) =>
        new Failure(
          "config",
          "bad_config",
          `signalbox.json has both ${name} and ${id}, which name the same thing: keep one.`,
        ),
      (form) => form,
    );
  return { workspace: choice("workspace"), project: choice("project"), environment: choice("environment") };
}

function pick(
  fields: PlaceFields,
  kind: Kind,
  name: string,
  both: (name: string, id: string) => Failure,
  spell: (form: string) => string,
): Choice | null {
  const idName = spell(`${name}Id`);
  const byName = fields[kind];
  const byId = fields[`${kind}Id`];
  if (byName !== undefined && byId !== undefined) throw both(name, idName);
  if (byName !== undefined) return { by: "name", value: byName, from: name };
  return byId === undefined ? null : { by: "id", value: byId, from: idName };
}

/** Finds what the choice names. A project token knows its project and environment, and no others. */
export async function resolvePlace(railway: RailwayAccess, choice: PlaceChoice): Promise<RailwayPlace> {
  if (railway.scope !== null) return withinScope(railway, railway.scope, choice);
  const project = await resolveProject(railway, choice);
  return { project: { id: project.id, name: project.name }, environment: environmentOf(project, choice) };
}

function withinScope(
  { from }: RailwayAccess,
  scope: RailwayPlace,
  { workspace, project, environment }: PlaceChoice,
): RailwayPlace {
  const here = `project ${scope.project.name}, environment ${scope.environment.name}`;
  // What the file says of the workspace is for lookups by an account's token.
  const asked = workspace?.from.startsWith("--") === true ? workspace : null;
  const others: [Choice | null, Named | null][] = [
    [asked, null],
    [project, scope.project],
    [environment, scope.environment],
  ];
  for (const [choice, own] of others) {
    if (choice === null || (own !== null && own[choice.by] === choice.value)) continue;
    throw new Failure(
      "unauthorized",
      "account_token_needed",
      `${choice.from} ${choice.value} needs an account's or workspace's token: ${from} is a project token ` +
        `for ${here}. Set RAILWAY_API_TOKEN instead, or leave ${choice.from} out.`,
    );
  }
  return { project: scope.project, environment: scope.environment };
}

type ProjectWithEnvironments = Pick<VisibleProject, "id" | "name" | "environments">;

async function resolveProject(
  railway: RailwayAccess,
  { workspace, project }: PlaceChoice,
): Promise<ProjectWithEnvironments> {
  if (project?.by === "id") return projectById(railway, project);
  const workspaceId = workspace === null ? null : await resolveWorkspace(railway, workspace);
  const all = await visibleProjects(railway, workspaceId);
  if (project === null) {
    throw new Failure(
      "usage",
      "wrong_usage",
      `Which Railway project? Give --project or --project-id, or set railway.project in signalbox.json. ${seen(all)}`,
    );
  }
  const [found, ...more] = all.filter(({ name }) => name === project.value);
  if (found === undefined) throw notFound(`project ${project.value}`, seen(all));
  if (more.length === 0) return found;
  const candidates = [found, ...more].map(
    ({ id, workspaceName }) => `${id}${workspaceName === null ? "" : ` in workspace ${workspaceName}`}`,
  );
  throw new Failure(
    "ambiguous",
    "ambiguous_name",
    `${candidates.length} Railway projects are called ${project.value}: ${candidates.join("; ")}. ` +
      "Give --project-id, or --workspace with the name.",
  );
}

async function projectById(railway: RailwayAccess, { value }: Choice): Promise<ProjectWithEnvironments> {
  try {
    const { project } = await railway.client.call(
      projectQuery,
      { project: value },
      { about: `project ${value}` },
    );
    return project;
  } catch (error) {
    if (error instanceof RailwayError && error.kind === "not_found")
      throw notFound(
        `project with id ${value}`,
        "`signalbox railway projects` lists those that this token sees.",
      );
    throw error;
  }
}

async function resolveWorkspace(railway: RailwayAccess, { by, value }: Choice): Promise<string> {
  if (by === "id") return value;
  const all = await visibleWorkspaces(railway);
  const [found, ...more] = all.filter(({ name }) => name === value);
  if (found === undefined) throw notFound(`workspace ${value}`, `This token sees: ${list(all)}.`);
  if (more.length === 0) return found.id;
  const candidates = [found, ...more];
  throw new Failure(
    "ambiguous",
    "ambiguous_name",
    `${candidates.length} Railway workspaces are called ${value}: ${candidates.map(({ id }) => id).join("; ")}. ` +
      "Give --workspace-id.",
  );
}

function environmentOf(project: ProjectWithEnvironments, { environment }: PlaceChoice): Named {
  const all = nodesOf(project.environments);
  const [first, ...others] = all;
  if (environment === null && first !== undefined && others.length === 0) return first;
  if (environment === null) {
    throw new Failure(
      "usage",
      "wrong_usage",
      `Which environment of project ${project.name}? Give --environment or --environment-id. It has: ${list(all)}.`,
    );
  }
  const [found, ...more] = all.filter((one) => one[environment.by] === environment.value);
  if (found === undefined)
    throw notFound(`environment ${environment.value} in project ${project.name}`, `It has: ${list(all)}.`);
  if (more.length === 0) return found;
  throw new Failure(
    "ambiguous",
    "ambiguous_name",
    `${more.length + 1} environments of project ${project.name} are called ${environment.value}: ` +
      `${[found, ...more].map(({ id }) => id).join("; ")}. Give --environment-id.`,
  );
}

const LISTED_AT_MOST = 20;

function list(all: Named[]): string {
  const names = all.slice(0, LISTED_AT_MOST).map(({ name }) => name);
  if (all.length > names.length) names.push(`${all.length - names.length} more`);
  return names.length === 0 ? "none" : names.join(", ");
}

function seen(all: Named[]): string {
  return all.length === 0 ? "This token sees no project." : `This token sees: ${list(all)}.`;
}

function notFound(what: string, hint: string): Failure {
  return new Failure("notFound", "not_found", `There is no Railway ${what}. ${hint}`);
}
