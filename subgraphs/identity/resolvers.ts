import { DateTimeScalar, JsonScalar } from "@toolyard/service-kit/graph/scalars.ts";
import { prefixOf } from "./api-key-service.ts";
import type { SequencedRevocation } from "./revocation-log.ts";
import type { Resolvers } from "./generated/types.ts";

export const resolvers: Resolvers = {
  DateTime: DateTimeScalar,
  JSON: JsonScalar,
  User: {
    __resolveReference: ({ id }, { services, loaders, caller }) => services.users.byId(caller, loaders, id),
    email: (user, _, { services, caller }) => services.users.emailOf(caller, user),
    apiKeys: (user, page, { services, loaders, caller }) => services.apiKeys.listOf(caller, loaders, user, page),
    apiKeyCount: (user, _, { services, loaders, caller }) => services.apiKeys.countOf(caller, loaders, user),
  },
  ApiKey: { prefix: prefixOf },
  Query: {
    me: (_, __, { services, loaders, caller }) => services.users.me(caller, loaders),
    user: (_, { id }, { services, loaders, caller }) => services.users.get(caller, loaders, id),
    users: (_, { search, ...page }, { services, caller }) => services.users.list(caller, page, search ?? null),
    introspectCredential: (_, { credential }, { services, caller }) =>
      services.introspection.introspect(caller, credential),
    identityTime: (_, __, { services, caller }) => services.introspection.time(caller),
    revocationLog: (_, __, { services, caller }) => services.revocations.range(caller),
  },
  Mutation: {
    register: (_, { input }, { services, caller, clientAddress }) =>
      services.sessions.register(caller, input, clientAddress),
    login: (_, credentials, { services, clientAddress }) => services.sessions.login(credentials, clientAddress),
    refreshSession: (_, { refreshToken }, { services, clientAddress }) =>
      services.sessions.refresh(refreshToken, clientAddress),
    logout: (_, __, { services, caller }) => services.sessions.logout(caller).then(() => true),
    changePassword: (_, change, { services, caller, clientAddress }) =>
      services.sessions.changePassword(caller, change, clientAddress).then(() => true),
    createApiKey: (_, { input }, context) => context.services.apiKeys.create(context, input),
    revokeApiKey: (_, { id }, { services, caller }) => services.apiKeys.revoke(caller, id),
    createStreamTicket: (_, __, { services, caller }) => services.introspection.createStreamTicket(caller),
    setUserRole: (_, { userId, role }, { services, caller }) => services.users.setRole(caller, userId, role),
    setUserDisabled: (_, { userId, disabled }, { services, caller }) =>
      services.users.setDisabled(caller, userId, disabled),
    resetPassword: (_, { userId }, { services, caller }) => services.users.resetPassword(caller, userId),
  },
  Subscription: {
    credentialsRevoked: {
      subscribe: (_, { after }, { services, caller }) => services.revocations.follow(caller, after ?? null),
      resolve: (revocation: SequencedRevocation) => revocation,
    },
  },
};
