/*
 * The part of Railway's schema that the stand-in serves: one text with nothing to split it by, so it is longer than other
 * files.
 */
import { buildSchema } from "graphql";

/** Railway names a connection after the type that holds it and the field. */
const connection = (name: string, node: string): string => `
  type ${name} { edges: [${name}Edge!]! pageInfo: PageInfo! }
  type ${name}Edge { cursor: String! node: ${node}! }`;

const CONNECTIONS = [
  connection("QueryProjectsConnection", "Project"),
  connection("QueryEnvironmentsConnection", "Environment"),
  connection("QueryDeploymentsConnection", "Deployment"),
  connection("WorkspaceProjectsConnection", "Project"),
  connection("ProjectEnvironmentsConnection", "Environment"),
  connection("ProjectServicesConnection", "Service"),
  connection("ProjectVolumesConnection", "Volume"),
  connection("ProjectGroupsConnection", "Group"),
  connection("EnvironmentServiceInstancesConnection", "ServiceInstance"),
  connection("EnvironmentVolumeInstancesConnection", "VolumeInstance"),
  connection("EnvironmentDeploymentsConnection", "Deployment"),
  connection("ServiceServiceInstancesConnection", "ServiceInstance"),
  connection("ServiceDeploymentsConnection", "Deployment"),
  connection("VolumeVolumeInstancesConnection", "VolumeInstance"),
].join("");

/**
 * The part of Railway's schema that Signalbox uses, written by hand: fewer types and fields, never other ones. A test
 * compares it with Railway's own where that is at hand. One document, hence its length.
 */
const SCHEMA_TEXT = /* GraphQL */ `
  scalar DateTime
  scalar JSON
  scalar EnvironmentVariables
  scalar EnvironmentConfig
  scalar DeploymentMeta

  type Query {
    me: User!
    apiToken: ApiTokenContext!
    projectToken: ProjectToken!
    projects(after: String, first: Int, workspaceId: String): QueryProjectsConnection!
    project(id: String!): Project!
    workspace(workspaceId: String!): Workspace!
    environment(id: String!, projectId: String): Environment!
    environments(after: String, first: Int, projectId: String!): QueryEnvironmentsConnection!
    service(id: String!): Service!
    serviceInstance(environmentId: String!, serviceId: String!): ServiceInstance!
    deployments(after: String, first: Int, input: DeploymentListInput!): QueryDeploymentsConnection!
    deployment(id: String!): Deployment!
    buildLogs(
      deploymentId: String!
      endDate: DateTime
      filter: String
      limit: Int
      startDate: DateTime
    ): [Log!]!
    deploymentLogs(
      deploymentId: String!
      endDate: DateTime
      filter: String
      limit: Int
      startDate: DateTime
    ): [Log!]!
    variables(
      environmentId: String!
      projectId: String!
      serviceId: String
      unrendered: Boolean
    ): EnvironmentVariables!
    domains(environmentId: String!, projectId: String!, serviceId: String!): AllDomains!
    environmentStagedChanges(environmentId: String!): EnvironmentPatch!
  }

  type Mutation {
    projectCreate(input: ProjectCreateInput!): Project!
    projectDelete(id: String!): Boolean!
    environmentCreate(input: EnvironmentCreateInput!): Environment!
    serviceCreate(input: ServiceCreateInput!): Service!
    serviceUpdate(id: String!, input: ServiceUpdateInput!): Service!
    serviceConnect(id: String!, input: ServiceConnectInput!): Service!
    serviceDelete(environmentId: String, id: String!): Boolean!
    serviceInstanceUpdate(
      environmentId: String
      input: ServiceInstanceUpdateInput!
      serviceId: String!
    ): Boolean!
    serviceInstanceAutoDeployUpdate(
      input: ServiceInstanceAutoDeployUpdateInput!
    ): ServiceInstanceAutoDeployUpdateResult!
    serviceInstanceDeployV2(commitSha: String, environmentId: String!, serviceId: String!): String!
    serviceInstanceRedeploy(environmentId: String!, serviceId: String!): Boolean!
    deploymentRedeploy(id: String!, usePreviousImageTag: Boolean): Deployment!
    deploymentRestart(id: String!): Boolean!
    deploymentRemove(id: String!): Boolean!
    deploymentStop(id: String!): Boolean!
    deploymentCancel(id: String!): Boolean!
    serviceDomainCreate(input: ServiceDomainCreateInput!): ServiceDomain!
    serviceDomainDelete(id: String!): Boolean!
    variableUpsert(input: VariableUpsertInput!): Boolean!
    variableCollectionUpsert(input: VariableCollectionUpsertInput!): Boolean!
    variableDelete(input: VariableDeleteInput!): Boolean!
    volumeCreate(input: VolumeCreateInput!): Volume!
    volumeDelete(volumeId: String!): Boolean!
    environmentStageChanges(
      environmentId: String!
      input: EnvironmentConfig!
      merge: Boolean
    ): EnvironmentPatch!
    environmentPatchCommit(commitMessage: String, environmentId: String!, patch: EnvironmentConfig): String!
    environmentPatchCommitStaged(commitMessage: String, environmentId: String!, skipDeploys: Boolean): String!
  }

  type User {
    id: ID!
    name: String
    email: String!
    username: String
    workspaces: [Workspace!]!
  }
  type ApiTokenContext {
    workspaces: [ApiTokenWorkspace!]!
  }
  type ApiTokenWorkspace {
    id: String!
    name: String!
  }
  type Workspace {
    id: ID!
    name: String!
    createdAt: DateTime!
    projects(after: String, first: Int): WorkspaceProjectsConnection!
  }
  type ProjectToken {
    id: ID!
    name: String!
    displayToken: String!
    createdAt: DateTime!
    project: Project!
    projectId: String!
    environment: Environment!
    environmentId: String!
  }
  type Project {
    id: ID!
    name: String!
    description: String
    createdAt: DateTime!
    updatedAt: DateTime!
    deletedAt: DateTime
    workspace: Workspace
    workspaceId: String
    baseEnvironment: Environment
    baseEnvironmentId: String
    primaryEnvironmentId: String
    environments(after: String, first: Int): ProjectEnvironmentsConnection!
    services(after: String, first: Int): ProjectServicesConnection!
    volumes(after: String, first: Int): ProjectVolumesConnection!
    groups(after: String, first: Int): ProjectGroupsConnection!
  }
  type Environment {
    id: ID!
    name: String!
    projectId: String!
    createdAt: DateTime!
    updatedAt: DateTime!
    deletedAt: DateTime
    isEphemeral: Boolean!
    config(decryptVariables: Boolean): EnvironmentConfig!
    serviceInstances(after: String, first: Int): EnvironmentServiceInstancesConnection!
    volumeInstances(after: String, first: Int): EnvironmentVolumeInstancesConnection!
    deployments(after: String, first: Int): EnvironmentDeploymentsConnection!
  }
  type Service {
    id: ID!
    name: String!
    icon: String
    projectId: String!
    project: Project!
    groupId: String
    createdAt: DateTime!
    updatedAt: DateTime!
    deletedAt: DateTime
    serviceInstances(after: String, first: Int): ServiceServiceInstancesConnection!
    deployments(after: String, first: Int): ServiceDeploymentsConnection!
  }
  type ServiceInstance {
    id: ID!
    serviceId: String!
    serviceName: String!
    service: Service!
    environmentId: String!
    createdAt: DateTime!
    updatedAt: DateTime!
    deletedAt: DateTime
    builder: Builder!
    buildCommand: String
    startCommand: String
    preDeployCommand: JSON
    dockerfilePath: String
    rootDirectory: String
    railwayConfigFile: String
    cronSchedule: String
    healthcheckPath: String
    healthcheckTimeout: Int
    numReplicas: Int
    region: String
    overlapSeconds: Int
    drainingSeconds: Int
    restartPolicyType: RestartPolicyType!
    restartPolicyMaxRetries: Int!
    sleepApplication: Boolean
    source: ServiceSource
    domains: AllDomains!
    latestDeployment: Deployment
    activeDeployments: [Deployment!]!
  }
  type ServiceInstanceAutoDeployUpdateResult {
    enabled: Boolean!
  }
  type ServiceSource {
    image: String
    repo: String
  }
  type AllDomains {
    customDomains: [CustomDomain!]!
    serviceDomains: [ServiceDomain!]!
  }
  type CustomDomain {
    id: ID!
    domain: String!
    targetPort: Int
  }
  type ServiceDomain {
    id: ID!
    domain: String!
    suffix: String
    targetPort: Int
    environmentId: String!
    serviceId: String!
    projectId: String
    createdAt: DateTime
    updatedAt: DateTime
    deletedAt: DateTime
    syncStatus: ServiceDomainSyncStatus!
  }
  type Deployment {
    id: ID!
    status: DeploymentStatus!
    statusUpdatedAt: DateTime
    createdAt: DateTime!
    updatedAt: DateTime!
    projectId: String!
    environmentId: String!
    environment: Environment!
    serviceId: String
    service: Service!
    url: String
    staticUrl: String
    meta: DeploymentMeta
    canRedeploy: Boolean!
    canRollback: Boolean!
    deploymentStopped: Boolean!
  }
  type Log {
    message: String!
    severity: String
    timestamp: String!
    attributes: [LogAttribute!]!
    tags: LogTags
  }
  type LogAttribute {
    key: String!
    value: String!
  }
  type LogTags {
    deploymentId: String
    environmentId: String
    projectId: String
    serviceId: String
  }
  type Volume {
    id: ID!
    name: String!
    projectId: String!
    project: Project!
    createdAt: DateTime!
    volumeInstances(after: String, first: Int): VolumeVolumeInstancesConnection!
  }
  type VolumeInstance {
    id: ID!
    createdAt: DateTime!
    mountPath: String!
    sizeMB: Int!
    state: VolumeState
    environmentId: String!
    environment: Environment!
    serviceId: String
    service: Service!
    volumeId: String!
    volume: Volume!
  }
  type Group {
    id: ID!
    name: String
    color: String
    icon: String
    isCollapsed: Boolean
    groupId: String
    projectId: String!
    project: Project!
  }
  type EnvironmentPatch {
    id: ID!
    status: EnvironmentPatchStatus!
    message: String
    patch(decryptVariables: Boolean): EnvironmentConfig!
    environmentId: String!
    environment: Environment!
    createdAt: DateTime!
    updatedAt: DateTime!
    appliedAt: DateTime
    lastAppliedError: String
  }

  type PageInfo {
    startCursor: String
    endCursor: String
    hasNextPage: Boolean!
    hasPreviousPage: Boolean!
  }
  ${CONNECTIONS}
  enum Builder {
    HEROKU
    NIXPACKS
    PAKETO
    RAILPACK
  }
  enum DeploymentStatus {
    BUILDING
    CRASHED
    DEPLOYING
    FAILED
    INITIALIZING
    NEEDS_APPROVAL
    QUEUED
    REMOVED
    REMOVING
    SKIPPED
    SLEEPING
    SUCCESS
    WAITING
  }
  enum EnvironmentPatchStatus {
    APPLYING
    COMMITTED
    STAGED
  }
  enum RestartPolicyType {
    ALWAYS
    NEVER
    ON_FAILURE
  }
  enum ServiceDomainSyncStatus {
    ACTIVE
    CREATING
    DELETED
    DELETING
    UNSPECIFIED
    UPDATING
  }
  enum VolumeState {
    DELETED
    DELETING
    ERROR
    MIGRATING
    MIGRATION_PENDING
    READY
    RESTORING
    UPDATING
  }

  input ProjectCreateInput {
    name: String
    description: String
    defaultEnvironmentName: String
    isPublic: Boolean
    prDeploys: Boolean
    workspaceId: String
  }
  input EnvironmentCreateInput {
    name: String!
    projectId: String!
    ephemeral: Boolean
    skipInitialDeploys: Boolean
    sourceEnvironmentId: String
  }
  input ServiceSourceInput {
    image: String
    repo: String
  }
  input RegistryCredentialsInput {
    password: String!
    username: String!
  }
  input ServiceCreateInput {
    name: String
    icon: String
    projectId: String!
    environmentId: String
    branch: String
    source: ServiceSourceInput
    registryCredentials: RegistryCredentialsInput
    variables: EnvironmentVariables
  }
  input ServiceUpdateInput {
    name: String
    icon: String
  }
  input ServiceConnectInput {
    branch: String
    image: String
    repo: String
  }
  input ServiceInstanceUpdateInput {
    builder: Builder
    buildCommand: String
    startCommand: String
    preDeployCommand: [String!]
    dockerfilePath: String
    rootDirectory: String
    railwayConfigFile: String
    cronSchedule: String
    healthcheckPath: String
    healthcheckTimeout: Int
    multiRegionConfig: JSON
    numReplicas: Int
    region: String
    overlapSeconds: Int
    drainingSeconds: Int
    restartPolicyType: RestartPolicyType
    restartPolicyMaxRetries: Int
    sleepApplication: Boolean
    registryCredentials: RegistryCredentialsInput
    source: ServiceSourceInput
  }
  input ServiceInstanceAutoDeployUpdateInput {
    enabled: Boolean!
    environmentId: String!
    projectId: String!
    serviceId: String!
  }
  input ServiceDomainCreateInput {
    environmentId: String!
    serviceId: String!
    targetPort: Int
  }
  input VariableUpsertInput {
    environmentId: String!
    projectId: String!
    serviceId: String
    name: String!
    value: String!
    skipDeploys: Boolean = false
  }
  input VariableCollectionUpsertInput {
    environmentId: String!
    projectId: String!
    serviceId: String
    variables: EnvironmentVariables!
    replace: Boolean = false
    skipDeploys: Boolean = false
  }
  input VariableDeleteInput {
    environmentId: String!
    projectId: String!
    serviceId: String
    name: String!
  }
  input VolumeCreateInput {
    environmentId: String
    mountPath: String!
    projectId: String!
    region: String
    serviceId: String
  }
  input DeploymentListInput {
    environmentId: String
    projectId: String
    serviceId: String
    includeDeleted: Boolean
    status: DeploymentStatusInput
  }
  input DeploymentStatusInput {
    in: [DeploymentStatus!]
    notIn: [DeploymentStatus!]
  }
`;

export const schema = buildSchema(SCHEMA_TEXT);
