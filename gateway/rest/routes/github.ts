import type { RestRoute } from "../rest-route.ts";

const TAG = "GitHub";
const PATH = "/api/v1/github";

export const githubRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: `${PATH}/connect`,
    tag: TAG,
    summary: "Let a tool follow a repository",
    operation:
      "mutation ConnectRepository($input: ConnectRepositoryInput!) { connectRepository(input: $input) { ...GitHubConnection } }",
    status: 201,
    noun: "connection",
  },
  {
    method: "POST",
    path: `${PATH}/sync/{connection_id}`,
    tag: TAG,
    summary: "Read the repository now",
    operation:
      "mutation SyncRepository($connectionId: ID!) { syncRepository(connectionId: $connectionId) { ...TaskReference } }",
    status: 202,
    noun: "connection",
  },
  {
    method: "DELETE",
    path: `${PATH}/disconnect/{connection_id}`,
    tag: TAG,
    summary: "Let a tool follow its repository no longer",
    operation:
      "mutation DisconnectRepository($connectionId: ID!) { disconnectRepository(connectionId: $connectionId) { id } }",
    status: 204,
    noun: "connection",
  },
];
