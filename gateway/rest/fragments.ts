import { OPTIONS_SELECTION } from "@toolyard/launch/graph.ts";

/** What REST answers of each type; a fragment's name is that of the schema in the OpenAPI document. */
const fragments: Record<string, string> = {
  User: "fragment User on User { id username email role disabled createdAt }",
  Session: "fragment Session on Session { accessToken refreshToken tokenType expiresIn user { ...User } }",
  StreamTicket: "fragment StreamTicket on StreamTicket { ticket expiresIn }",
  ApiKey: "fragment ApiKey on ApiKey { id name prefix scopes toolIds createdAt lastUsedAt expiresAt revokedAt }",
  CreatedApiKey: "fragment CreatedApiKey on CreatedApiKey { apiKey { ...ApiKey } secret }",
  LaunchOptions: `fragment LaunchOptions on LaunchOptions ${OPTIONS_SELECTION}`,
  Launch: `fragment Launch on Launch {
    __typename
    ... on StdioLaunch {
      command args env { name value secret } workingDirectory writablePaths sessions maxSessions idleSeconds maxMessageBytes
      options { ...LaunchOptions }
    }
    ... on HttpLaunch { command args env { name value secret } workingDirectory writablePaths path options { ...LaunchOptions } }
    ... on ImageLaunch { image args env { name value secret } writablePaths port path options { ...LaunchOptions } }
    ... on RemoteLaunch { url urlSecret paths headers { name value secret } options { ...LaunchOptions } }
  }`,
  Tool: `fragment Tool on Tool {
    id slug name description tags launch { ...Launch } configSchema authorId templateId mcpUrl version: currentVersion { number digest }
    createdAt updatedAt deletedAt
  }`,
  ToolShare: "fragment ToolShare on ToolShare { userId access sharedById createdAt updatedAt }",
  ToolVersion: `fragment ToolVersion on ToolVersion {
    id toolId number name description tags launch { ...Launch } configSchema digest changeSummary source commitSha createdById createdAt
  }`,
  Template:
    "fragment Template on Template { id name description launch { ...Launch } configSchema repository version source authorId }",
  Document:
    "fragment Document on Document { id title content contentType size digest tags metadata toolId uploadedById createdAt updatedAt }",
  DocumentSummary:
    "fragment DocumentSummary on Document { id title contentType size digest tags metadata toolId uploadedById createdAt updatedAt }",
  SearchHit: "fragment SearchHit on SearchHit { score snippet document { ...DocumentSummary } }",
  Finding: "fragment Finding on Finding { title detail severity location citations { documentId quote } }",
  TaskReference: "fragment TaskReference on Task { taskId: id status }",
  Task: `fragment Task on Task {
    id kind status progress message attempts toolId requestedById createdAt startedAt finishedAt error { code message }
    result {
      __typename
      ... on FeasibilityReport { feasible score summary risks { ...Finding } requirements provider }
      ... on ImprovementReport { summary suggestions { ...Finding } provider }
      ... on GeneratedConfig { launch { ...Launch } configSchema explanation warnings provider }
      ... on SyncReport { commitSha toolVersionId documentIds warnings }
    }
  }`,
  GitHubConnection:
    "fragment GitHubConnection on GitHubConnection { id toolId owner repository branch path status lastSyncedCommit lastSyncedAt lastError }",
  Deployment: `fragment Deployment on Deployment {
    id name toolId toolVersion: versionNumber environment status reason healthStatus: health endpointUrl routeUrl mcpUrl runtime
    replicas { id phase reason endpointUrl restarts health startedAt } desiredReplicas
    lastHealthCheck deployedAt stoppedAt createdAt
  }`,
  DeploymentEvent:
    "fragment DeploymentEvent on DeploymentEvent { deploymentId toolId kind message status healthStatus: health data }",
  HealthEvent:
    "fragment HealthEvent on HealthCheckEvent { deploymentId check { at status kind replicaId latencyMs detail } }",
  TaskEvent: "fragment TaskEvent on TaskChange { taskId status progress message task { kind toolId } }",
  ToolEvent:
    "fragment ToolEvent on ToolChange { toolId kind tool { slug name version: currentVersion { number digest } } }",
};

/** An operation's text with all fragments that it names, directly or through others. */
export function withFragments(operation: string): string {
  const found = new Set<string>();
  function find(text: string): void {
    for (const [, name = ""] of text.matchAll(/\.\.\.([A-Z]\w*)/g)) {
      const fragment = fragments[name];
      if (fragment === undefined) throw new Error(`There is no fragment ${name}.`);
      if (found.has(name)) continue;
      found.add(name);
      find(fragment);
    }
  }
  find(operation);
  return [operation, ...[...found].map((name) => fragments[name])].join("\n");
}
