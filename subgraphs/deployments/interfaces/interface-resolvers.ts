import type { Context } from "../context.ts";
import type { Resolvers } from "../generated/types.ts";
import type { OfferedItem } from "../graph-shapes.ts";

const DEFAULT_CHANGES = 20;

type InterfaceTypes =
  "ToolInterface" | "InterfaceChange" | "OfferedTool" | "OfferedPrompt" | "OfferedResource" | "OfferedResourceTemplate";

/** Servers say what they like: values of other types than the protocol's are left out, or named by "". */
const text =
  (member: string) =>
  (item: OfferedItem): string | null =>
    typeof item[member] === "string" ? item[member] : null;
const name =
  (member: string) =>
  (item: OfferedItem): string =>
    text(member)(item) ?? "";
const value =
  (member: string) =>
  (item: OfferedItem): unknown =>
    item[member] ?? null;
const described = {
  title: text("title"),
  description: text("description"),
  definition: (item: OfferedItem) => item,
};
const resource = { ...described, name: text("name"), mimeType: text("mimeType") };

export const interfaceResolvers: Pick<Resolvers<Context>, InterfaceTypes> = {
  ToolInterface: {
    deployment: ({ deploymentId }, _, { loaders }) => loaders.deployment.load(deploymentId),
    instructions: async ({ content }) => (await content()).instructions,
    tools: async ({ content }) => (await content()).tools,
    prompts: async ({ content }) => (await content()).prompts,
    resources: async ({ content }) => (await content()).resources,
    resourceTemplates: async ({ content }) => (await content()).resourceTemplates,
    problems: async ({ content }) => (await content()).problems,
    changes: ({ changes }, { first }) => changes(first ?? DEFAULT_CHANGES),
  },
  InterfaceChange: {
    deployment: ({ deploymentId }, _, { loaders }) => loaders.deployment.load(deploymentId),
    added: ({ difference }) => difference.added,
    removed: ({ difference }) => difference.removed,
    changed: ({ difference }) => difference.changed,
    isWhole: ({ difference }) => difference.isWhole,
  },
  OfferedTool: {
    ...described,
    name: name("name"),
    inputSchema: value("inputSchema"),
    outputSchema: value("outputSchema"),
    annotations: value("annotations"),
  },
  OfferedPrompt: { ...described, name: name("name"), arguments: value("arguments") },
  OfferedResource: { ...resource, uri: name("uri") },
  OfferedResourceTemplate: { ...resource, uriTemplate: name("uriTemplate") },
};
