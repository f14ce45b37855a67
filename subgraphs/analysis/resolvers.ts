import { DateTimeScalar, JsonScalar } from "@toolyard/service-kit/graph/scalars.ts";
import { taskResolvers } from "@toolyard/tasks";
import type { Resolvers } from "./generated/types.ts";
import { storedLaunchType } from "./reports.ts";

export const resolvers: Resolvers = {
  DateTime: DateTimeScalar,
  JSON: JsonScalar,
  Query: {
    task: (_, { id }, { tasks, caller }) => tasks.find(caller, id),
    tasks: async (_, args, context) =>
      context.tasks.list(context.caller, { ...args, toolId: await context.tools.idOrNone(context, args.toolId) }),
    taskLog: (_, _arguments, { tasks, caller }) => tasks.logRange(caller),
  },
  Mutation: {
    analyzeFeasibility: (_, { input }, { analysis, caller, requestId }) =>
      analysis.analyzeFeasibility(caller, input, requestId),
    suggestImprovements: (_, { toolId }, { analysis, caller, requestId }) =>
      analysis.suggestImprovements(caller, toolId, requestId),
    generateConfig: (_, { input }, { analysis, caller, requestId }) =>
      analysis.generateConfig(caller, input, requestId),
    cancelTask: (_, { id }, { tasks, caller }) => tasks.cancel(caller, id),
  },
  Subscription: {
    taskUpdated: {
      subscribe: async (_, args, context) =>
        context.tasks.follow(context.caller, { ...args, toolId: await context.tools.idOrNone(context, args.toolId) }),
    },
  },
  ...taskResolvers,
  Launch: { __resolveType: (launch) => storedLaunchType(launch) },
  Tool: {
    __resolveReference: ({ id }, { caller }) => (caller.reaches(id) ? { id } : null),
    tasks: ({ id }, { kind, ...page }, { tasks, caller }) => tasks.listOfTool(caller, id, kind ?? null, page),
  },
};
