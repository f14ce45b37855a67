import type { Context } from "../context.ts";
import type { Resolvers } from "../generated/types.ts";
import type { PartyUsage } from "./usage-service.ts";

type UsageTypes = "UsageRecord" | "UsageSummary" | "UserUsage" | "ClientUsage";

const isUser = ({ party: { kind } }: PartyUsage) => kind === "USER" || kind === "OTHER_USERS";
const userIdOf = ({ party }: PartyUsage) => (party.kind === "USER" ? party.userId : null);
const clientOf = ({ party }: PartyUsage) => (party.kind === "CLIENT" ? party.client : null);

/** Whether the caller may inspect a deployment's tool, and so sees who has called it. */
export async function mayInspectTool(toolId: string, { loaders, inspection, caller }: Context): Promise<boolean> {
  const [newest] = await loaders.ofTool(toolId, {}, { limit: 1, afterId: null, offset: 0 }).rows();
  return inspection.mayInspect(caller, { ownerId: newest?.ownerId ?? null, toolId });
}

export const usageResolvers: Pick<Resolvers<Context>, UsageTypes> = {
  UsageRecord: {
    tool: ({ toolId }) => ({ id: toolId }),
    userId: seenUserOf,
    user: async (record, _, context) => {
      const id = await seenUserOf(record, {}, context);
      return id === null ? null : { id };
    },
  },
  UsageSummary: {
    byUser: async ({ parties }) => (await parties()).filter(isUser),
    byClient: async ({ parties }) => (await parties()).filter((each) => !isUser(each)),
  },
  UserUsage: {
    userId: userIdOf,
    user: (usage) => {
      const id = userIdOf(usage);
      return id === null ? null : { id };
    },
    isRest: ({ party }) => party.kind === "OTHER_USERS",
  },
  ClientUsage: {
    name: (usage) => clientOf(usage)?.name ?? null,
    version: (usage) => clientOf(usage)?.version ?? null,
    apiKeyId: ({ party }) => (party.kind === "CLIENT" ? party.apiKeyId : null),
    isRest: ({ party }) => party.kind === "OTHER_CLIENTS",
  },
};

async function seenUserOf(
  { userId, deploymentId, toolId }: { userId: string | null; deploymentId: string; toolId: string },
  _: object,
  { caller, inspection, loaders }: Context,
): Promise<string | null> {
  if (userId === null || userId === caller.userId) return userId;
  const deployment = await loaders.deployment.load(deploymentId);
  return (await inspection.mayInspect(caller, deployment ?? { ownerId: null, toolId })) ? userId : null;
}
