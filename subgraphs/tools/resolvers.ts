import { DateTimeScalar, JsonScalar } from "@toolyard/service-kit/graph/scalars.ts";
import { subscriptionStream, type EventSubjects, type EventTail } from "@toolyard/events";
import { launchTypeOf, showLaunch } from "@toolyard/launch";
import type { Resolvers } from "./generated/types.ts";
import { mayBeTold } from "./share-service.ts";
import type { ToolChange } from "./tool-service.ts";
import type { Tool, ToolChangeKind, ToolEventPayload } from "./tool-store.ts";

export function createResolvers(options: {
  tail: EventTail<ToolEventPayload>;
  eventTools: EventSubjects<Tool>;
}): Resolvers {
  const { tail, eventTools } = options;
  return {
    DateTime: DateTimeScalar,
    JSON: JsonScalar,

    Query: {
      tool: (_parent, { id, slug }, { reader, caller }) => reader.find(caller, { id: id ?? null, slug: slug ?? null }),
      tools: (_parent, filter, { reader, caller }) => reader.list(caller, filter),
      myTools: (_parent, page, { sharing, caller }) => sharing.ownTools(caller, page),
      sharedWithMe: (_parent, page, { sharing, caller }) => sharing.sharedTools(caller, page),
      sharedAccess: (_parent, { userId, toolIds }, { sharing, caller }) => sharing.accessOf(caller, userId, toolIds),
      template: (_parent, { id }, { templates, caller }) => templates.named(caller, id),
      templates: (_parent, filter, { templates, caller }) => templates.list(caller, filter),
      templateRepository: (_parent, _args, { templateRepository, caller }) => {
        // Whether there is one is for administrators, too.
        caller.require("metrics:read", undefined, "see how the repository of templates stands");
        return templateRepository?.show(caller) ?? null;
      },
      githubConnection: (_parent, { id }, { reader, caller }) => reader.connection(caller, id),
      toolLog: (_parent, _args, { caller }) => {
        caller.require("tool:read");
        return tail.range();
      },
      sealedLaunch: (_parent, { toolId, versionNumber }, { reader, caller }) =>
        reader.sealedLaunch(caller, toolId, versionNumber ?? null),
      takesGitHubEvents: (_parent, _args, { connections, caller }) => {
        connections.checkTakes(caller);
        return true;
      },
    },

    Mutation: {
      createTool: (_parent, { input }, context) => context.tools.create(context, input),
      updateTool: (_parent, { id, input }, { tools, caller }) => tools.update(caller, id, input),
      deleteTool: (_parent, { id, expectedVersion = null }, { tools, caller, requestId }) =>
        tools.delete(caller, id, { requestId, expectedVersion }),
      restoreTool: (_parent, { id }, { tools, caller }) => tools.restore(caller, id),
      shareTool: (_parent, { toolId, ...who }, context) => context.sharing.share(context, toolId, who),
      unshareTool: (_parent, { toolId, userId }, context) => context.sharing.unshare(context, toolId, userId),
      revertTool: (_parent, { id, versionNumber }, { tools, caller }) => tools.revert(caller, id, versionNumber),
      createToolFromTemplate: async (_parent, { templateId, input }, context) => {
        const { templates, tools, caller } = context;
        return tools.createFromTemplate(context, await templates.get(caller, templateId), input);
      },
      importServer: (_parent, { json }, { imports, caller }) => imports.importServer(caller, json),
      deleteTemplate: (_parent, { id }, { imports, caller }) => imports.delete(caller, id),
      connectRepository: (_parent, { input }, { connections, caller }) => connections.connect(caller, input),
      syncRepository: (_parent, { connectionId }, { connections, caller }) => connections.sync(caller, connectionId),
      disconnectRepository: (_parent, { connectionId }, { connections, caller }) =>
        connections.disconnect(caller, connectionId),
      receiveGitHubEvent: (_parent, { input }, { connections, caller }) => connections.receive(caller, input),
    },

    Subscription: {
      toolChanged: {
        subscribe: async (_parent, { id, after }, { reader, caller }) => {
          caller.require("tool:read");
          const ofStream = eventTools.forStream();
          return subscriptionStream(
            tail,
            {
              after: after ?? null,
              filter: (event) => mayBeTold(caller, event),
              onBatch: ofStream.expect,
              ...(id != null && { subjectId: await reader.idOf(caller, id) }),
            },
            (event): { toolChanged: ToolChange } => ({
              toolChanged: {
                sequence: String(event.sequence),
                at: event.at,
                // The log holds what the store wrote: these kinds and no others.
                kind: event.kind as ToolChangeKind,
                toolId: event.subjectId,
                tool: () => ofStream.of(event),
              },
            }),
          );
        },
      },
      sharesChanged: {
        subscribe: (_parent, { after }, { sharing, caller }) => sharing.changes(caller, after ?? null),
      },
    },

    ToolShare: { user: ({ userId }) => stub(userId) },

    Tool: {
      __resolveReference: (reference, { reader, caller }) => reader.byKey(caller, reference),
      launch: async (tool, _args, { reader, caller }) =>
        reader.launch(caller, await reader.currentVersion(caller, tool)),
      configSchema: async (tool, _args, { reader, caller }) => (await reader.currentVersion(caller, tool)).configSchema,
      author: ({ authorId }) => stub(authorId),
      template: ({ templateId }, _args, { templates, caller }) =>
        templateId === null ? null : templates.find(caller, templateId),
      currentVersion: (tool, _args, { reader, caller }) => reader.currentVersion(caller, tool),
      version: (tool, { number }, { reader, caller }) => reader.version(caller, tool, number),
      versions: (tool, page, { reader, caller }) => reader.versions(caller, tool, page),
      connection: ({ id }, _args, { reader, caller }) => reader.connectionOfTool(caller, id),
      sharedWith: (tool, _args, { sharing, loaders, caller }) => sharing.sharesOf(caller, loaders, tool),
    },

    ToolVersion: {
      __resolveReference: ({ id }, { reader, caller }) => reader.versionById(caller, id),
      launch: (version, _args, { reader, caller }) => reader.launch(caller, version),
      createdBy: ({ createdById }) => stub(createdById),
    },

    ToolChange: {
      tool: ({ tool }) => tool(),
    },

    Launch: {
      __resolveType: launchTypeOf,
    },
    StdioLaunch: { writablePaths: ({ writablePaths = [] }) => writablePaths },
    HttpLaunch: { writablePaths: ({ writablePaths = [] }) => writablePaths },
    ImageLaunch: { writablePaths: ({ writablePaths = [] }) => writablePaths },

    Template: {
      __resolveReference: ({ id }, { templates, caller }) => templates.find(caller, id),
      // There are no secrets in it, and nobody's values.
      launch: ({ launch }) => showLaunch(launch, { showValues: true }),
      author: ({ authorId }) => stub(authorId),
    },
    GitHubConnection: {
      __resolveReference: ({ id }, { reader, caller }) => reader.connection(caller, id),
      tool: ({ toolId }, _args, { reader, caller }) => reader.byKey(caller, { id: toolId }),
    },
  };
}

function stub(id: string | null): { id: string } | null {
  return id === null ? null : { id };
}
