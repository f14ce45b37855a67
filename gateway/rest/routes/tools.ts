import type { RestRoute } from "../rest-route.ts";

const TAG = "Tools";
const PATH = "/api/v1/mcps";

const version = (tool: Record<string, unknown>): number => (tool["version"] as { number: number }).number;

export const toolRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: PATH,
    tag: TAG,
    summary: "Register a tool",
    operation: "mutation CreateTool($input: CreateToolInput!) { createTool(input: $input) { ...Tool } }",
    status: 201,
    noun: "tool",
    location: `${PATH}/{id}`,
    version,
  },
  {
    method: "GET",
    path: PATH,
    tag: TAG,
    summary: "List tools, newest first",
    operation: `query Tools($first: Int, $offset: Int, $search: String, $tag: String, $includeDeleted: Boolean) {
      tools(first: $first, offset: $offset, search: $search, tag: $tag, includeDeleted: $includeDeleted) { edges { node { ...Tool } } totalCount }
    }`,
    status: 200,
    noun: "tool",
  },
  {
    method: "GET",
    path: `${PATH}/{tool_id}`,
    tag: TAG,
    summary: "Get a tool",
    operation: "query Tool($toolId: ID!) { tool(id: $toolId) { ...Tool } }",
    status: 200,
    noun: "tool",
    version,
  },
  {
    method: "PUT",
    path: `${PATH}/{tool_id}`,
    tag: TAG,
    summary: "Change a tool by a new version; fields that are left out stay",
    operation:
      "mutation UpdateTool($toolId: ID!, $input: UpdateToolInput!) { updateTool(id: $toolId, input: $input) { ...Tool } }",
    status: 200,
    noun: "tool",
    version,
  },
  {
    method: "DELETE",
    path: `${PATH}/{tool_id}`,
    tag: TAG,
    summary: "Delete a tool and stop its deployments",
    operation:
      "mutation DeleteTool($toolId: ID!, $expectedVersion: Int) { deleteTool(id: $toolId, expectedVersion: $expectedVersion) { id } }",
    status: 204,
    noun: "tool",
  },
  {
    method: "GET",
    path: `${PATH}/{tool_id}/history`,
    tag: TAG,
    summary: "List a tool's versions, newest first",
    operation: `query ToolHistory($toolId: ID!, $first: Int, $offset: Int) {
      tool(id: $toolId) { versions(first: $first, offset: $offset) { edges { node { ...ToolVersion } } totalCount } }
    }`,
    status: 200,
    at: ["tool", "versions"],
    noun: "tool",
  },
  {
    method: "GET",
    path: `${PATH}/{tool_id}/shares`,
    tag: TAG,
    summary: "List the users that a tool is shared with",
    operation: "query ToolShares($toolId: ID!) { tool(id: $toolId) { sharedWith { ...ToolShare } } }",
    status: 200,
    at: ["tool", "sharedWith"],
    noun: "tool",
  },
  {
    method: "PUT",
    path: `${PATH}/{tool_id}/shares/{user_id}`,
    tag: TAG,
    summary: "Share a tool with a user, or change their access",
    operation: `mutation ShareTool($toolId: ID!, $userId: ID!, $access: ShareAccess!) {
      shareTool(toolId: $toolId, userId: $userId, access: $access) { id }
    }`,
    status: 204,
    noun: "tool",
  },
  {
    method: "DELETE",
    path: `${PATH}/{tool_id}/shares/{user_id}`,
    tag: TAG,
    summary: "Share a tool with a user no longer",
    operation:
      "mutation UnshareTool($toolId: ID!, $userId: ID!) { unshareTool(toolId: $toolId, userId: $userId) { id } }",
    status: 204,
    noun: "tool",
  },
  {
    method: "GET",
    path: "/api/v1/my/mcps",
    tag: TAG,
    summary: "List your own tools, newest first",
    operation: `query MyTools($first: Int, $offset: Int) {
      myTools(first: $first, offset: $offset) { edges { node { ...Tool } } totalCount }
    }`,
    status: 200,
    noun: "tool",
  },
  {
    method: "GET",
    path: "/api/v1/my/shared-mcps",
    tag: TAG,
    summary: "List the tools that others share with you, newest first",
    operation: `query SharedWithMe($first: Int, $offset: Int) {
      sharedWithMe(first: $first, offset: $offset) { edges { node { ...Tool } } totalCount }
    }`,
    status: 200,
    noun: "tool",
  },
];
