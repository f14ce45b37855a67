import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Caller, GraphClient } from "@toolyard/service-kit";

export const SAMPLE_SLUG = "everything";

/** The entry of the sample MCP server, a dependency of the project. */
export function sampleServerEntry(): string {
  const manifest = createRequire(import.meta.url).resolve("@modelcontextprotocol/server-everything/package.json");
  return join(dirname(manifest), "dist", "index.js");
}

/** Registers and deploys the sample on a Toolyard that never had a tool. Returns whether it can be called. */
export async function installSample(options: { graph: GraphClient; as: Caller }): Promise<boolean> {
  const { graph, as } = options;
  const { tools, tool } = await graph.query<{
    tools: { totalCount: number };
    tool: { deployments: { edges: { node: { status: string } }[] } | null } | null;
  }>({
    query: `query ($slug: String!) {
      tools(first: 1, includeDeleted: true) { totalCount }
      tool(slug: $slug) { deployments { edges { node { status } } } }
    }`,
    variables: { slug: SAMPLE_SLUG },
    as,
  });
  if (tools.totalCount > 0)
    return (tool?.deployments?.edges ?? []).some(({ node }) => ["STARTING", "RUNNING"].includes(node.status));
  const { createTool } = await graph.query<{ createTool: { id: string } }>({
    query: "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    variables: {
      input: {
        slug: SAMPLE_SLUG,
        name: "Everything (sample)",
        description:
          "The reference MCP server that shows every feature of the protocol: tools, prompts, resources, sampling, logging.",
        tags: ["sample"],
        launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
      },
    },
    as,
  });
  await graph.query({
    query: "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
    variables: { input: { toolId: createTool.id } },
    as,
  });
  return true;
}
