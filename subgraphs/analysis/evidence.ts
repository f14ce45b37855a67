import { createServiceCaller, isPublic, notFound, type GraphClient, type Logger } from "@toolyard/service-kit";
import { z } from "zod";
import { LAUNCH_FRAGMENT, launchFromGraph } from "@toolyard/launch";

/** The facts about a tool, or about a description: read from the graph as a viewer would see it. */
export interface Evidence {
  /** Null where there is only a description. */
  tool: ToolEvidence | null;
  /** The tool's, or the one given. */
  description: string;
  documents: DocumentEvidence[];
  deployments: DeploymentEvidence[];
  /** All deployments of the last week; null where unknown. */
  usage: UsageEvidence | null;
  /** The parts that could not be read, in words for the summary. */
  missing: string[];
}

const documentSchema = z.object({ id: z.string(), title: z.string(), content: z.string() });
const usageSchema = z.object({
  calls: z.number(),
  errors: z.number(),
  errorRate: z.number(),
  p50Ms: z.number().nullable(),
  p95Ms: z.number().nullable(),
  byMcpTool: z.array(
    z.object({ mcpTool: z.string(), calls: z.number(), errors: z.number(), p95Ms: z.number().nullable() }),
  ),
});
const deploymentSchema = z.object({
  id: z.string(),
  name: z.string(),
  environment: z.string(),
  status: z.string(),
  reason: z.string().nullable(),
  health: z.string(),
  digest: z.string(),
  desiredReplicas: z.number(),
  replicas: z.array(z.object({ phase: z.string(), reason: z.string().nullable(), restarts: z.number() })),
  usage: usageSchema,
});
const toolSchema = z.object({
  id: z.string(),
  slug: z.string(),
  name: z.string(),
  description: z.string(),
  tags: z.array(z.string()),
  deletedAt: z.unknown(),
  configSchema: z.unknown(),
  launch: launchFromGraph,
  currentVersion: z.object({ number: z.number(), digest: z.string() }),
});

type DocumentEvidence = z.infer<typeof documentSchema>;
export type DeploymentEvidence = z.infer<typeof deploymentSchema>;
export type UsageEvidence = z.infer<typeof usageSchema>;
export type ToolEvidence = Omit<z.infer<typeof toolSchema>, "deletedAt"> & {
  /** Names of variables that hold a value of their own, neither secret nor a placeholder: as whoever asked could see. */
  plainVariables: string[];
  /** Names of variables whose value is a placeholder of the configuration. */
  placeholderVariables: string[];
};

interface Subject {
  toolId: string | null;
  description: string | null;
  requirements: readonly string[];
  plainVariables: readonly string[];
  placeholderVariables: readonly string[];
}

export interface EvidenceReader {
  /** @throws ToolyardError NOT_FOUND when the tool is gone; the graph's error when the tool cannot be read. */
  gather(subject: Subject, signal: AbortSignal): Promise<Evidence>;
}

const MAX_DOCUMENTS = 20;
const HITS = 5;
const MAX_SEARCHES = 10;
const MAX_CONTENT = 200_000;

const TOOL_QUERY = `query ToolEvidence($id: ID!) {
  tool(id: $id) { id slug name description tags deletedAt configSchema launch { ...WholeLaunch } currentVersion { number digest } }
}
${LAUNCH_FRAGMENT}`;
const DOCUMENTS_QUERY = `query DocumentEvidence($toolId: ID!, $first: Int!) {
  documents(toolId: $toolId, first: $first) { edges { node { id title content } } pageInfo { hasNextPage } }
}`;
const SEARCH_QUERY = `query SearchEvidence($query: String!, $toolId: ID, $first: Int!) {
  searchDocuments(query: $query, toolId: $toolId, first: $first) { edges { node { document { id title content } } } }
}`;
const USAGE = "calls errors errorRate p50Ms p95Ms byMcpTool { mcpTool calls errors p95Ms }";
const DEPLOYMENTS_QUERY = `query DeploymentEvidence($toolId: ID!) {
  deployments(toolId: $toolId, first: 10) {
    edges { node {
      id name environment status reason health digest desiredReplicas replicas { phase reason restarts } usage(window: WEEK) { ${USAGE} }
    } }
  }
}`;
const USAGE_QUERY = `query UsageEvidence($id: ID!) { tool(id: $id) { usage(window: WEEK) { ${USAGE} } } }`;

const edges = <Node extends z.ZodType>(node: Node) => z.object({ edges: z.array(z.object({ node })) });
const toolAnswer = z.object({ tool: toolSchema.nullable() });
const documentsAnswer = z.object({
  documents: edges(documentSchema).extend({ pageInfo: z.object({ hasNextPage: z.boolean() }) }),
});
const searchAnswer = z.object({ searchDocuments: edges(z.object({ document: documentSchema })) });
const deploymentsAnswer = z.object({ deployments: edges(deploymentSchema) });
const usageAnswer = z.object({ tool: z.object({ usage: usageSchema.nullable() }).nullable() });

/** Reads evidence from the graph as the service principal `service:analysis`, which may read what a viewer may. */
export function createEvidenceReader(options: { graph: GraphClient; logger: Logger }): EvidenceReader {
  const { graph, logger } = options;
  const caller = createServiceCaller("analysis", []);

  async function ask<Schema extends z.ZodType>(
    schema: Schema,
    query: string,
    variables: Record<string, unknown>,
    signal: AbortSignal,
  ): Promise<z.output<Schema>> {
    return schema.parse(await graph.query<unknown>({ query, variables, as: caller, signal }));
  }

  /** An unavailable service costs its part of the evidence, not the analysis. */
  async function orMissing<Part>(
    missing: string[],
    name: string,
    fallback: Part,
    read: () => Promise<Part>,
  ): Promise<Part> {
    try {
      return await read();
    } catch (error) {
      logger.warn({ err: error, part: name, public: isPublic(error) }, "a part of the evidence could not be read");
      missing.push(name);
      return fallback;
    }
  }

  async function search(query: string, toolId: string | null, signal: AbortSignal): Promise<DocumentEvidence[]> {
    const { searchDocuments } = await ask(searchAnswer, SEARCH_QUERY, { query, toolId, first: HITS }, signal);
    return searchDocuments.edges.map(({ node }) => node.document);
  }

  async function documentsOf(toolId: string, requirements: readonly string[], signal: AbortSignal) {
    const { documents } = await ask(documentsAnswer, DOCUMENTS_QUERY, { toolId, first: MAX_DOCUMENTS }, signal);
    const found = documents.edges.map(({ node }) => node);
    if (!documents.pageInfo.hasNextPage) return found;
    return [...found, ...(await searchEach(requirements, toolId, signal))];
  }

  async function searchEach(texts: readonly string[], toolId: string | null, signal: AbortSignal) {
    const found: DocumentEvidence[] = [];
    for (const text of texts.slice(0, MAX_SEARCHES)) found.push(...(await search(text, toolId, signal)));
    return found;
  }

  async function gatherForTool(toolId: string, subject: Subject, signal: AbortSignal): Promise<Evidence> {
    const { tool } = await ask(toolAnswer, TOOL_QUERY, { id: toolId }, signal);
    if (!tool || tool.deletedAt !== null) throw notFound("tool", toolId);
    const missing: string[] = [];
    const [documents, deployments, usage] = await Promise.all([
      orMissing(missing, "documents", [], () => documentsOf(toolId, subject.requirements, signal)),
      orMissing(missing, "deployments", [], async () =>
        (await ask(deploymentsAnswer, DEPLOYMENTS_QUERY, { toolId }, signal)).deployments.edges.map(({ node }) => node),
      ),
      orMissing(
        missing,
        "usage",
        null,
        async () => (await ask(usageAnswer, USAGE_QUERY, { id: toolId }, signal)).tool?.usage ?? null,
      ),
    ]);
    const { plainVariables, placeholderVariables } = subject;
    return {
      tool: { ...tool, plainVariables: [...plainVariables], placeholderVariables: [...placeholderVariables] },
      description: tool.description,
      documents: distinct(documents),
      deployments,
      usage,
      missing,
    };
  }

  return {
    async gather(subject, signal) {
      if (subject.toolId !== null) return gatherForTool(subject.toolId, subject, signal);
      const missing: string[] = [];
      const documents = await orMissing(missing, "documents", [], () => searchEach(subject.requirements, null, signal));
      const description = subject.description ?? "";
      return { tool: null, description, documents: distinct(documents), deployments: [], usage: null, missing };
    },
  };
}

function distinct(documents: DocumentEvidence[]): DocumentEvidence[] {
  const byId = new Map(documents.map((document) => [document.id, document]));
  return [...byId.values()].map((document) => ({ ...document, content: document.content.slice(0, MAX_CONTENT) }));
}
