import { z } from "zod";
import { operation, type Connection } from "./operation.ts";

/**
 * The operations that Signalbox uses. A test checks their texts against Railway's schema; the results are checked as
 * they come. Ids are Railway's own.
 */

const id = z.string().min(1);
const domain = z.string().regex(/^[a-z0-9.-]{1,253}(?::\d{1,5})?$/i, "isn't a host name");
const named = z.object({ id, name: z.string() });
const edges = <T>(node: z.ZodType<T>): z.ZodType<Connection<T>> =>
  z.object({ edges: z.array(z.object({ node })) });

/** Variables by name; what references others is shown as it is written, not as it is rendered. */
const variables = z.record(z.string(), z.string());
export type RailwayVariables = z.infer<typeof variables>;

/** States of a Railway deployment. A state we don't know counts as under way. */
export const deploymentStatuses = [
  "QUEUED",
  "WAITING",
  "INITIALIZING",
  "BUILDING",
  "DEPLOYING",
  "SUCCESS",
  "FAILED",
  "CRASHED",
  "REMOVED",
  "REMOVING",
  "SKIPPED",
  "SLEEPING",
  "NEEDS_APPROVAL",
] as const;
export type RailwayDeploymentStatus = (typeof deploymentStatuses)[number];

const railwayDeployment = z.object({
  id,
  status: z.enum(deploymentStatuses).or(z.string().transform(() => "WAITING" as const)),
  createdAt: z.string().refine((text) => !Number.isNaN(Date.parse(text)), "isn't a date"),
});
export type RailwayDeployment = z.infer<typeof railwayDeployment>;

const logLine = z.object({
  timestamp: z.string(),
  message: z.string(),
  severity: z.string().nullable().optional(),
});
export type RailwayLogLine = z.infer<typeof logLine>;

const service = z.object({
  id,
  name: z.string(),
  groupId: z.string().nullable(),
  createdAt: z.string(),
  deletedAt: z.string().nullable(),
});
export type RailwayService = z.infer<typeof service>;

// ---- Who and where

export const projectToken = operation<Record<string, never>>()(
  `query projectToken { projectToken { projectId environmentId project { id name } environment { id name } } }`,
  z.object({
    projectToken: z.object({ projectId: id, environmentId: id, project: named, environment: named }),
  }),
);

export const me = operation<Record<string, never>>()(
  `query me { me { id email workspaces { id name } } }`,
  z.object({ me: z.object({ id, email: z.string(), workspaces: z.array(named) }) }),
);

// ---- The project's services

/** All services of a project. A few hundred at most: each deployment is one, and old ones are deleted. */
export const projectServices = operation<{ project: string }>()(
  `query projectServices($project: String!) {
    project(id: $project) {
      id name
      services(first: 500) { edges { node { id name groupId createdAt deletedAt } } }
    }
  }`,
  z.object({ project: z.object({ id, name: z.string(), services: edges(service) }) }),
);

/** What a service is set to. Variables are unrendered: references stay references, and no secret is resolved. */
export const serviceVariables = operation<{ project: string; environment: string; service: string }>()(
  `query serviceVariables($project: String!, $environment: String!, $service: String!) {
    variables(projectId: $project, environmentId: $environment, serviceId: $service, unrendered: true)
  }`,
  z.object({ variables }),
);

/** Everything that a rollout needs of one service, in one call. */
export const serviceState = operation<{ project: string; environment: string; service: string }>()(
  `query serviceState($project: String!, $environment: String!, $service: String!) {
    service(id: $service) { id name groupId createdAt deletedAt }
    variables(projectId: $project, environmentId: $environment, serviceId: $service, unrendered: true)
    serviceInstance(environmentId: $environment, serviceId: $service) {
      source { image repo }
      startCommand buildCommand dockerfilePath healthcheckPath healthcheckTimeout
      overlapSeconds drainingSeconds numReplicas
      domains { serviceDomains { domain targetPort } }
      latestDeployment { id status createdAt }
    }
  }`,
  z.object({
    service,
    variables,
    serviceInstance: z.object({
      source: z.object({ image: z.string().nullable(), repo: z.string().nullable() }).nullable(),
      startCommand: z.string().nullable(),
      buildCommand: z.string().nullable(),
      dockerfilePath: z.string().nullable(),
      healthcheckPath: z.string().nullable(),
      healthcheckTimeout: z.number().nullable(),
      overlapSeconds: z.number().nullable(),
      drainingSeconds: z.number().nullable(),
      numReplicas: z.number().nullable(),
      domains: z.object({
        serviceDomains: z.array(z.object({ domain, targetPort: z.number().nullable() })),
      }),
      latestDeployment: railwayDeployment.nullable(),
    }),
  }),
);

export type RailwayServiceState = z.infer<(typeof serviceState)["result"]>;

/** A service's newest deployment, for polling. */
export const latestDeployment = operation<{ environment: string; service: string }>()(
  `query latestDeployment($environment: String!, $service: String!) {
    serviceInstance(environmentId: $environment, serviceId: $service) {
      domains { serviceDomains { domain targetPort } }
      latestDeployment { id status createdAt }
    }
  }`,
  z.object({
    serviceInstance: z.object({
      domains: z.object({
        serviceDomains: z.array(z.object({ domain, targetPort: z.number().nullable() })),
      }),
      latestDeployment: railwayDeployment.nullable(),
    }),
  }),
);

/** The same with the output of a build that is known already, so that following a build is one call at a time. */
export const buildProgress = operation<{
  environment: string;
  service: string;
  deployment: string;
  since: string | null;
  limit: number;
}>()(
  `query buildProgress(
    $environment: String!, $service: String!, $deployment: String!, $since: DateTime, $limit: Int
  ) {
    serviceInstance(environmentId: $environment, serviceId: $service) {
      domains { serviceDomains { domain targetPort } }
      latestDeployment { id status createdAt }
    }
    buildLogs(deploymentId: $deployment, startDate: $since, limit: $limit) { timestamp message }
  }`,
  latestDeployment.result.and(z.object({ buildLogs: z.array(logLine) })),
);

const logVariables = operation<{ deployment: string; since: string | null; limit: number }>();

export const buildLogs = logVariables(
  `query buildLogs($deployment: String!, $since: DateTime, $limit: Int) {
    buildLogs(deploymentId: $deployment, startDate: $since, limit: $limit) { timestamp message }
  }`,
  z.object({ buildLogs: z.array(logLine) }),
);

/** What the running deployment itself printed. */
export const deploymentLogs = logVariables(
  `query deploymentLogs($deployment: String!, $since: DateTime, $limit: Int) {
    deploymentLogs(deploymentId: $deployment, startDate: $since, limit: $limit) { timestamp message severity }
  }`,
  z.object({ deploymentLogs: z.array(logLine) }),
);

/** What its build and it itself printed. */
export const deploymentOutput = logVariables(
  `query deploymentOutput($deployment: String!, $since: DateTime, $limit: Int) {
    buildLogs(deploymentId: $deployment, startDate: $since, limit: $limit) { timestamp message severity }
    deploymentLogs(deploymentId: $deployment, startDate: $since, limit: $limit) { timestamp message severity }
  }`,
  z.object({ buildLogs: z.array(logLine), deploymentLogs: z.array(logLine) }),
);

// ---- Changes. None of them is repeated without looking first.

/** Without a source: nothing is built before everything else is set. */
export const serviceCreate = operation<{
  input: { projectId: string; environmentId: string; name: string; variables: RailwayVariables };
}>()(
  `mutation serviceCreate($input: ServiceCreateInput!) {
    serviceCreate(input: $input) { id name groupId createdAt deletedAt }
  }`,
  z.object({ serviceCreate: service }),
);

export const serviceDelete = operation<{ environment: string; service: string }>()(
  `mutation serviceDelete($environment: String!, $service: String!) {
    serviceDelete(id: $service, environmentId: $environment)
  }`,
  z.object({ serviceDelete: z.boolean() }),
);

/** Null leaves a setting as it is. */
export interface ServiceSettings {
  source?: { image: string } | { repo: string };
  startCommand?: string;
  buildCommand?: string;
  dockerfilePath?: string;
  healthcheckPath?: string;
  healthcheckTimeout?: number;
  overlapSeconds?: number;
  drainingSeconds?: number;
  numReplicas?: number;
  restartPolicyType?: "ALWAYS" | "NEVER" | "ON_FAILURE";
  restartPolicyMaxRetries?: number;
}

/** Sets, and builds nothing. */
export const serviceInstanceUpdate = operation<{
  environment: string;
  service: string;
  input: ServiceSettings;
}>()(
  `mutation serviceInstanceUpdate($environment: String!, $service: String!, $input: ServiceInstanceUpdateInput!) {
    serviceInstanceUpdate(environmentId: $environment, serviceId: $service, input: $input)
  }`,
  z.object({ serviceInstanceUpdate: z.boolean() }),
);

/** Gives a service its repository and branch; Railway then builds the branch's newest commit. */
export const serviceConnect = operation<{
  service: string;
  input: { repo?: string; branch?: string; image?: string };
}>()(
  `mutation serviceConnect($service: String!, $input: ServiceConnectInput!) {
    serviceConnect(id: $service, input: $input) { id }
  }`,
  z.object({ serviceConnect: z.object({ id }) }),
);

/** A deployment is one version: later commits of its branch must not be built into it. */
export const autoDeployOff = operation<{ project: string; environment: string; service: string }>()(
  `mutation serviceInstanceAutoDeployUpdate($project: String!, $environment: String!, $service: String!) {
    serviceInstanceAutoDeployUpdate(
      input: { projectId: $project, environmentId: $environment, serviceId: $service, enabled: false }
    ) { enabled }
  }`,
  z.object({ serviceInstanceAutoDeployUpdate: z.object({ enabled: z.boolean() }) }),
);

/** Builds and starts what the service's source holds; answers the id of the deployment. */
export const serviceInstanceDeployV2 = operation<{
  environment: string;
  service: string;
  commit: string | null;
}>()(
  `mutation serviceInstanceDeployV2($environment: String!, $service: String!, $commit: String) {
    serviceInstanceDeployV2(environmentId: $environment, serviceId: $service, commitSha: $commit)
  }`,
  z.object({ serviceInstanceDeployV2: id }),
);

export const deploymentRedeploy = operation<{ deployment: string }>()(
  `mutation deploymentRedeploy($deployment: String!) {
    deploymentRedeploy(id: $deployment) { id status createdAt }
  }`,
  z.object({ deploymentRedeploy: railwayDeployment }),
);

export const serviceDomainCreate = operation<{
  input: { environmentId: string; serviceId: string; targetPort?: number };
}>()(
  `mutation serviceDomainCreate($input: ServiceDomainCreateInput!) {
    serviceDomainCreate(input: $input) { domain }
  }`,
  z.object({ serviceDomainCreate: z.object({ domain }) }),
);

/**
 * Moves a service into a group of the canvas. Committed by itself: what somebody has staged in Railway's dashboard
 * and not yet applied stays staged.
 */
export const environmentPatchCommit = operation<{
  environment: string;
  patch: { services: Record<string, { groupId: string }> };
  message: string;
}>()(
  `mutation environmentPatchCommit($environment: String!, $patch: EnvironmentConfig!, $message: String) {
    environmentPatchCommit(environmentId: $environment, patch: $patch, commitMessage: $message)
  }`,
  z.object({ environmentPatchCommit: z.string() }),
);
