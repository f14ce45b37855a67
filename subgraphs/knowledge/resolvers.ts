import { DateTimeScalar, JsonScalar } from "@toolyard/service-kit/graph/scalars.ts";
import type { Resolvers } from "./generated/types.ts";

export function createResolvers(): Resolvers {
  return {
    DateTime: DateTimeScalar,
    JSON: JsonScalar,

    Query: {
      document: (_parent, { id }, { caller, documents, loaders }) => documents.find(caller, loaders, id),
      documents: async (_parent, filter, context) =>
        context.documents.list(context.caller, {
          ...filter,
          toolId: await context.tools.idOrNone(context, filter.toolId),
        }),
      searchDocuments: async (_parent, { query, ...filter }, context) =>
        context.documents.search(context.caller, query, {
          ...filter,
          toolId: await context.tools.idOrNone(context, filter.toolId),
        }),
    },

    Mutation: {
      uploadDocument: (_parent, { input }, context) => context.documents.upload(context, input),
      updateDocument: (_parent, { id, input }, context) => context.documents.update(context, id, input),
      deleteDocument: (_parent, { id }, context) => context.documents.delete(context, id),
      storeSyncedDocument: (_parent, { input }, { caller, documents }) => documents.storeSynced(caller, input),
      removeSyncedDocument: (_parent, { id, toolId }, { caller, documents }) =>
        documents.removeSynced(caller, id, toolId),
    },

    Document: {
      __resolveReference: ({ id }, { caller, documents, loaders }) => documents.find(caller, loaders, id),
      content: (document, _args, { loaders }) => loaders.content.load(document),
      tool: ({ toolId }) => (toolId === null ? null : { id: toolId }),
      uploadedBy: ({ uploadedById }) => (uploadedById === null ? null : { id: uploadedById }),
    },

    Tool: {
      __resolveReference: ({ id }, { caller }) => (caller.reaches(id) ? { id } : null),
      documents: ({ id }, page, { caller, documents, loaders }) => documents.listOfTool(caller, loaders, id, page),
    },
  };
}
