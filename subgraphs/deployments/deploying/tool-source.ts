import { createServiceCaller, notFound, ToolyardError, type Caller, type GraphClient } from "@toolyard/service-kit";
import { z } from "zod";
import { launchSchema } from "@toolyard/launch";

/** The version to deploy, from the tools service. */
export type ToolSource = z.output<typeof answer>["sealedLaunch"] & {
  ownerId: string | null;
  templateId: string | null;
};

const answer = z.object({
  tool: z
    .object({
      id: z.string(),
      authorId: z.string().nullable(),
      templateId: z.string().nullable(),
      deletedAt: z.string().nullable(),
    })
    .nullable(),
  sealedLaunch: z.object({
    toolId: z.string(),
    versionId: z.string(),
    slug: z.string(),
    number: z.number().int(),
    digest: z.string(),
    launch: launchSchema,
    configSchema: z.unknown(),
  }),
});

const QUERY = /* GraphQL */ `
  query DeployedTool($toolId: ID!, $versionNumber: Int) {
    tool(id: $toolId) {
      id
      authorId
      templateId
      deletedAt
    }
    sealedLaunch(toolId: $toolId, versionNumber: $versionNumber) {
      toolId
      versionId
      slug
      number
      digest
      launch
      configSchema
    }
  }
`;

const self: Caller = createServiceCaller("deployments", ["internal:sealed-launch"]);

/**
 * A version of a tool with its sealed launch; the current one when `versionNumber` is null.
 * @throws ToolyardError NOT_FOUND when there is no such tool or version, or it is deleted; UPSTREAM_UNAVAILABLE.
 */
export async function fetchTool(
  graph: GraphClient,
  options: { toolId: string; versionNumber: number | null; requestId: string },
): Promise<ToolSource> {
  const { toolId, versionNumber, requestId } = options;
  const data = await graph.query({ query: QUERY, variables: { toolId, versionNumber }, as: self, requestId });
  const parsed = answer.safeParse(data);
  if (!parsed.success)
    throw new ToolyardError("INTERNAL_SERVER_ERROR", "The tools service answered in an unknown form.", {
      cause: parsed.error,
    });
  const { tool, sealedLaunch } = parsed.data;
  if (!tool || tool.deletedAt !== null) throw notFound("tool", toolId);
  return { ...sealedLaunch, ownerId: tool.authorId, templateId: tool.templateId };
}
