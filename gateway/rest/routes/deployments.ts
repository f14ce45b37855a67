import type { RestRoute } from "../rest-route.ts";

const TAG = "Deployments";
const PATH = "/api/v1/deployments";

export const deploymentRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: PATH,
    tag: TAG,
    summary: "Ask for a version of a tool to run",
    operation: "mutation DeployTool($input: DeployToolInput!) { deployTool(input: $input) { ...Deployment } }",
    status: 201,
    noun: "tool",
    location: `${PATH}/{id}`,
  },
  {
    method: "GET",
    path: PATH,
    tag: TAG,
    summary: "List deployments, newest first",
    operation: `query Deployments(
      $toolId: ID, $status: DeploymentStatus, $environment: Environment, $includeFailed: Boolean, $first: Int, $offset: Int
    ) {
      deployments(
        toolId: $toolId, status: $status, environment: $environment, includeFailed: $includeFailed, first: $first, offset: $offset
      ) { edges { node { ...Deployment } } totalCount }
    }`,
    status: 200,
    noun: "deployment",
  },
  {
    method: "GET",
    path: `${PATH}/{deployment_id}`,
    tag: TAG,
    summary: "Get a deployment",
    operation: "query Deployment($deploymentId: ID!) { deployment(id: $deploymentId) { ...Deployment } }",
    status: 200,
    noun: "deployment",
  },
  {
    method: "DELETE",
    path: `${PATH}/{deployment_id}`,
    tag: TAG,
    summary: "Stop a deployment",
    operation: "mutation StopDeployment($deploymentId: ID!) { stopDeployment(id: $deploymentId) { ...Deployment } }",
    status: 200,
    noun: "deployment",
  },
  {
    method: "GET",
    path: `${PATH}/{deployment_id}/health`,
    tag: TAG,
    summary: "Get a deployment's health and its latest checks",
    operation: `query DeploymentHealth($deploymentId: ID!) {
      deployment(id: $deploymentId) {
        id name status reason healthStatus: health lastHealthCheck
        checks: healthChecks { at status kind replicaId latencyMs detail }
      }
    }`,
    status: 200,
    noun: "deployment",
  },
];
