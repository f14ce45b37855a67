import type { RestRoute } from "../rest-route.ts";

const TAG = "Analysis and tasks";
const PATH = "/api/v1/analyze";

export const analysisRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: `${PATH}/feasibility`,
    tag: TAG,
    summary: "Analyse whether a tool, or what is described, can do what is required",
    operation:
      "mutation AnalyzeFeasibility($input: FeasibilityInput!) { analyzeFeasibility(input: $input) { ...TaskReference } }",
    status: 202,
    noun: "task",
  },
  {
    method: "POST",
    path: `${PATH}/improvements`,
    tag: TAG,
    summary: "Suggest improvements of a tool",
    operation:
      "mutation SuggestImprovements($toolId: ID!) { suggestImprovements(toolId: $toolId) { ...TaskReference } }",
    status: 202,
    noun: "task",
  },
  {
    method: "POST",
    path: `${PATH}/generate-config`,
    tag: TAG,
    summary: "Generate a launch and a schema of its configuration",
    operation:
      "mutation GenerateConfig($input: GenerateConfigInput!) { generateConfig(input: $input) { ...TaskReference } }",
    status: 202,
    noun: "task",
  },
  {
    method: "GET",
    path: "/api/v1/tasks/{task_id}",
    tag: TAG,
    summary: "Get a task, with its result once it has one",
    operation: "query Task($taskId: ID!) { task(id: $taskId) { ...Task } }",
    status: 200,
    noun: "task",
  },
];
