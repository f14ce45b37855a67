import type { CommandContext } from "./command.ts";
import type { Graph } from "./graph.ts";
import { GraphError } from "./graph.ts";
import { allPages } from "./pages.ts";

export interface ListedTool {
  id: string;
  slug: string;
  name: string;
  currentVersion: { number: number };
  mcpUrl: string | null;
  deployments: { edges: { node: ListedDeployment }[] } | null;
}

export interface ListedDeployment {
  id: string;
  name: string;
  status: string;
  health: string;
  environment: string;
  runtime: string;
  reason: string | null;
  mcpUrl: string;
}

/** Selects a ListedDeployment. */
export const DEPLOYMENT_FIELDS = "id name status health environment runtime reason mcpUrl";
const TOOL = `id slug name currentVersion { number } mcpUrl deployments(first: 20) { edges { node { ${DEPLOYMENT_FIELDS} } } }`;
const LIVE = ["STARTING", "RUNNING", "STOPPING"];

/** All tools, newest first. */
export async function allTools(graph: Graph): Promise<ListedTool[]> {
  return allPages<ListedTool>(
    graph,
    "tools",
    `query ($first: Int, $after: String) {
      tools(first: $first, after: $after) { edges { node { ${TOOL} } } pageInfo { hasNextPage endCursor } }
    }`,
  );
}

/** The tool of this slug or id. @throws GraphError that says which are close */
export async function findTool(graph: Graph, name: string): Promise<ListedTool> {
  const { tool } = await graph.query<{ tool: (ListedTool & { deletedAt: string | null }) | null }>(
    `query ($name: ID!) { tool(id: $name) { ${TOOL} deletedAt } }`,
    { name },
  );
  if (!tool) throw new GraphError("NOT_FOUND", `There is no tool ${JSON.stringify(name)}.`);
  if (tool.deletedAt !== null)
    throw new GraphError("NOT_FOUND", `${tool.slug} is deleted. \`restore ${tool.slug}\` takes that back.`);
  return tool;
}

/** A deployment by its name or, of a tool, the one that runs, else the newest. @throws GraphError that says how to get one */
export async function findDeployment(
  { graph, hint }: Pick<CommandContext, "graph" | "hint">,
  name: string,
): Promise<ListedDeployment> {
  const { deployment } = await graph.query<{ deployment: ListedDeployment | null }>(
    `query ($name: String!) { deployment(name: $name) { ${DEPLOYMENT_FIELDS} } }`,
    { name },
  );
  if (deployment) return deployment;
  const { slug } = await findTool(graph, name);
  throw new GraphError("NOT_FOUND", `${slug} is not deployed. Deploy it: ${hint(`deploy ${slug}`)}`);
}

/** The deployment of this name, or all of the tool that run. @throws GraphError when there is none */
export async function findRunning(graph: Graph, name: string): Promise<ListedDeployment[]> {
  const { deployment } = await graph.query<{ deployment: (ListedDeployment & { tool: ListedTool | null }) | null }>(
    `query ($name: String!) { deployment(name: $name) { ${DEPLOYMENT_FIELDS} tool { ${TOOL} } } }`,
    { name },
  );
  if (!deployment) {
    await findTool(graph, name); // throws where there is none, either
    return [];
  }
  const found = deployment.name === name ? [deployment] : deploymentsOf(deployment.tool);
  return found.filter(isLive);
}

/** Newest first. */
export function deploymentsOf(tool: ListedTool | null): ListedDeployment[] {
  return (tool?.deployments?.edges ?? []).map(({ node }) => node);
}

/** Whether any of its replicas runs or is about to. */
export const isLive = ({ status }: ListedDeployment): boolean => LIVE.includes(status);
