import type { Caller } from "@toolyard/service-kit";
import type { ApiKeyService } from "./api-key-service.ts";
import type { IntrospectionService } from "./introspection-service.ts";
import type { Loaders } from "./loaders.ts";
import type { RevocationLog } from "./revocation-log.ts";
import type { SessionService } from "./session-service.ts";
import type { UserService } from "./user-service.ts";

/** The context of a resolver. */
export interface Context {
  caller: Caller;
  requestId: string;
  /** The client's address, if the gateway states it. */
  clientAddress: string | null;
  loaders: Loaders;
  services: Services;
}

export interface Services {
  sessions: SessionService;
  users: UserService;
  apiKeys: ApiKeyService;
  introspection: IntrospectionService;
  revocations: Pick<RevocationLog, "follow" | "range">;
}
