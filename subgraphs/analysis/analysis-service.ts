import { LAUNCH_FRAGMENT, launchFromGraph, variablesOf } from "@toolyard/launch";
import { badInput, notFound, parseInput, type Caller, type GraphClient, type ToolShares } from "@toolyard/service-kit";
import type { Task, TaskQueue } from "@toolyard/tasks";
import { z } from "zod";
import type { AnalysisJob } from "./analysis-job.ts";
import { isPlaceholder } from "./rules/secret-names.ts";

/**
 * Queues analyses. Takes `analysis:write`: of a tool, by id or slug, as its author, by a share (EDIT), or as an administrator; of a description, as a developer or an
 * administrator. @throws ToolyardError BAD_USER_INPUT, NOT_FOUND, FORBIDDEN; the graph's error when the tool cannot be read
 */
export interface AnalysisService {
  analyzeFeasibility(caller: Caller, input: FeasibilityRequest, requestId: string): Promise<Task>;
  suggestImprovements(caller: Caller, tool: string, requestId: string): Promise<Task>;
  generateConfig(caller: Caller, input: ConfigRequest, requestId: string): Promise<Task>;
}

interface FeasibilityRequest {
  toolId?: string | null | undefined;
  description?: string | null | undefined;
  requirements?: readonly string[] | null | undefined;
}
interface ConfigRequest {
  toolId?: string | null | undefined;
  description?: string | null | undefined;
  repository?: string | null | undefined;
}

const MAX_DESCRIPTION = 20_000;
const MAX_REQUIREMENTS = 50;
const MAX_REQUIREMENT = 500;

const id = z.string().min(1, "must not be empty").max(64, "is neither an id nor a slug");
const description = z
  .string()
  .trim()
  .min(1, "must say what the server does")
  .max(MAX_DESCRIPTION, `must have at most ${MAX_DESCRIPTION} characters`);
const feasibilityInput = z.object({
  toolId: id.nullish(),
  description: description.nullish(),
  requirements: z
    .array(
      z
        .string()
        .trim()
        .min(1, "must not be empty")
        .max(MAX_REQUIREMENT, `must have at most ${MAX_REQUIREMENT} characters`),
    )
    .max(MAX_REQUIREMENTS, `must be at most ${MAX_REQUIREMENTS}`)
    .nullish(),
});
const configInput = z.object({
  toolId: id.nullish(),
  description: description.nullish(),
  repository: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9-]{0,38}\/[\w.-]{1,100}$/, "must be a public repository on GitHub as owner/name")
    .nullish(),
});
const toolAnswer = z.object({
  tool: z
    .object({ id: z.string(), authorId: z.string().nullable(), deletedAt: z.unknown(), launch: launchFromGraph })
    .nullable(),
});

const TOOL_QUERY = `query ToolToAnalyse($id: ID!) { tool(id: $id) { id authorId deletedAt launch { ...WholeLaunch } } }
${LAUNCH_FRAGMENT}`;

export function createAnalysisService(options: {
  tasks: TaskQueue;
  shares: ToolShares;
  graph: GraphClient;
}): AnalysisService {
  const { tasks, shares, graph } = options;

  /** The tool as the caller sees it: its author sees values, of which only the kind goes on. */
  async function subjectOf(caller: Caller, reference: string, requestId: string) {
    const variables = { id: reference };
    const answer = await graph.query<unknown>({ query: TOOL_QUERY, variables, as: caller, requestId });
    const { tool } = toolAnswer.parse(answer);
    if (!tool || tool.deletedAt !== null) throw notFound("tool", reference);
    await shares.require(caller, "analysis:write", { ownerId: tool.authorId, toolId: tool.id });
    const shown = variablesOf(tool.launch).filter(({ value, secret }) => value !== null && !secret);
    const isTemplate = (value: string | null) => value !== null && isPlaceholder(value);
    return {
      toolId: tool.id,
      ownerId: tool.authorId,
      plainVariables: shown.filter(({ value }) => !isTemplate(value)).map(({ name }) => name),
      placeholderVariables: shown.filter(({ value }) => isTemplate(value)).map(({ name }) => name),
    };
  }

  async function enqueue(
    caller: Caller,
    kind: AnalysisJob["kind"],
    about: ConfigRequest & { requirements?: string[] },
    requestId: string,
  ): Promise<Task> {
    const none = { toolId: null, ownerId: caller.userId, plainVariables: [], placeholderVariables: [] };
    if (about.toolId == null) caller.require("analysis:write", none, "start analyses that are of no tool");
    const { toolId, ownerId, ...variables } =
      about.toolId == null ? none : await subjectOf(caller, about.toolId, requestId);
    const input: AnalysisJob["input"] = {
      toolId,
      description: about.description ?? null,
      repository: about.repository ?? null,
      requirements: about.requirements ?? [],
      ...variables,
    };
    return tasks.enqueue({ kind, input, requestedById: caller.userId, toolId, ownerId });
  }

  return {
    async analyzeFeasibility(caller, request, requestId) {
      caller.require("analysis:write", undefined, "start analyses");
      const { requirements, ...about } = parseInput(feasibilityInput, request);
      requireOne(about, "give either toolId or description");
      return enqueue(caller, "FEASIBILITY", { ...about, requirements: requirements ?? [] }, requestId);
    },
    async suggestImprovements(caller, tool, requestId) {
      caller.require("analysis:write", undefined, "start analyses");
      return enqueue(caller, "IMPROVEMENTS", { toolId: parseInput(id, tool, "toolId") }, requestId);
    },
    async generateConfig(caller, request, requestId) {
      caller.require("analysis:write", undefined, "start analyses");
      const about = parseInput(configInput, request);
      requireOne(about, "give exactly one of toolId, repository and description");
      return enqueue(caller, "GENERATE_CONFIG", about, requestId);
    },
  };
}

function requireOne(about: Record<string, string | null | undefined>, message: string): void {
  if (Object.values(about).filter((value) => value != null).length !== 1) throw badInput([{ path: "input", message }]);
}
