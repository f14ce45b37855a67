import { isPublic, newId, type Caller, type Role, type Scope, type TokenVerifier } from "@toolyard/service-kit";
import type { ApiKeyService } from "./api-key-service.ts";
import { requireCurrentAccount } from "./caller-account.ts";
import { effectiveScopes } from "./effective-scopes.ts";
import type { IdentityStore } from "./identity-store.ts";
import { matchesHash, mintCredential, readCredential } from "./opaque-credential.ts";

const TICKET_SECONDS = 60;
const TICKET_SCOPES: readonly Scope[] = ["READ"];

/** The state of a credential; times in epoch ms. */
export interface Introspection {
  active: boolean;
  subject: string | null;
  role: Role | null;
  scopes: Scope[];
  toolIds: string[] | null;
  expiresAt: number | null;
  apiKeyId: string | null;
  tokenId: string | null;
  issuedAt: number | null;
  passwordAt: number | null;
}

/** Tells verifiers about credentials, and makes the kind that only introspection can verify. */
export interface IntrospectionService {
  /** Never throws for a bad credential: it is not active. @throws ToolyardError FORBIDDEN unless a service asks. */
  introspect(caller: Caller, credential: string): Promise<Introspection>;
  /** Epoch ms, by which credentials are issued and judged. @throws ToolyardError FORBIDDEN unless a service asks. */
  time(caller: Caller): number;
  /** @throws ToolyardError UNAUTHENTICATED, FORBIDDEN */
  createStreamTicket(caller: Caller): Promise<{ ticket: string; expiresIn: number }>;
}

const INACTIVE: Introspection = {
  active: false,
  subject: null,
  role: null,
  scopes: [],
  toolIds: null,
  expiresAt: null,
  apiKeyId: null,
  tokenId: null,
  issuedAt: null,
  passwordAt: null,
};

export function createIntrospectionService(options: {
  store: IdentityStore;
  apiKeys: ApiKeyService;
  verifier: TokenVerifier;
  now: () => number;
}): IntrospectionService {
  const { store, apiKeys, verifier, now } = options;
  const isPast = (time: number | null) => time !== null && time <= now();

  /** A user's credential, unless they are disabled. */
  async function ofUser(
    userId: string,
    scopes: readonly Scope[],
    rest: Partial<Introspection>,
  ): Promise<Introspection> {
    const user = await store.findUser(userId);
    if (!user || user.disabled) return INACTIVE;
    const { id, role } = user;
    return { ...INACTIVE, ...rest, active: true, subject: id, role, scopes: effectiveScopes(role, scopes) };
  }

  async function ofApiKey(id: string, text: string): Promise<Introspection> {
    const key = await store.findApiKey(id);
    if (!key || !matchesHash(text, key.hash) || key.revokedAt !== null || isPast(key.expiresAt)) return INACTIVE;
    const answer = await ofUser(key.ownerId, key.scopes, {
      toolIds: key.toolIds,
      expiresAt: key.expiresAt,
      apiKeyId: key.id,
    });
    if (answer.active) apiKeys.noteUse(key);
    return answer;
  }

  async function ofStreamTicket(id: string, text: string): Promise<Introspection> {
    const ticket = await store.findStreamTicket(id);
    if (!ticket || !matchesHash(text, ticket.hash)) return INACTIVE;
    // The second caller finds it taken, even when both came at once.
    if (!(await store.transaction((tx) => tx.takeStreamTicket(id)))) return INACTIVE;
    if (isPast(ticket.expiresAt) || isPast(ticket.credentialExpiresAt)) return INACTIVE;
    return ofUser(ticket.userId, TICKET_SCOPES, {
      expiresAt: ticket.credentialExpiresAt,
      apiKeyId: ticket.apiKeyId,
      tokenId: ticket.tokenId,
      issuedAt: ticket.tokenIssuedAt,
    });
  }

  async function ofAccessToken(text: string): Promise<Introspection> {
    let caller: Caller;
    try {
      caller = await verifier.verify(text);
    } catch (error) {
      if (isPublic(error)) return INACTIVE;
      throw error;
    }
    // A service's token suffices by itself; introspection is for facts that only identity knows: users.
    if (caller.userId === null || caller.credential?.type !== "access-token") return INACTIVE;
    const { tokenId, issuedAt, passwordAt } = caller.credential;
    const session = await store.findSessionOfAccessToken(tokenId);
    if (!session || session.revokedAt !== null || session.userId !== caller.userId) return INACTIVE;
    return ofUser(caller.userId, caller.scopes, { expiresAt: caller.expiresAt, tokenId, issuedAt, passwordAt });
  }

  return {
    time(caller) {
      caller.require("internal:revocations");
      return now();
    },
    async introspect(caller, credential) {
      caller.require("internal:introspect");
      const opaque = readCredential(credential);
      switch (opaque?.kind) {
        case "ty":
          return ofApiKey(opaque.id, credential);
        case "tyt":
          return ofStreamTicket(opaque.id, credential);
        case "tyr":
          return INACTIVE; // a refresh token only gives the next session
        case undefined:
          return ofAccessToken(credential);
      }
    },

    async createStreamTicket(caller) {
      // It takes WRITE, which no ticket has: a ticket that made tickets would never end. Nor has it a key that is limited to tools.
      caller.require("credential:write");
      const id = newId();
      const { text, hash } = mintCredential("tyt", id);
      const { credential } = caller;
      await store.transaction(async (tx) => {
        const user = await requireCurrentAccount(tx, caller);
        await tx.insertStreamTicket({
          id,
          hash,
          userId: user.id,
          tokenId: credential?.type === "access-token" ? credential.tokenId : null,
          tokenIssuedAt: credential?.type === "access-token" ? credential.issuedAt : null,
          apiKeyId: credential?.type === "api-key" ? credential.apiKeyId : null,
          credentialExpiresAt: caller.expiresAt,
          expiresAt: now() + TICKET_SECONDS * 1000,
        });
      });
      return { ticket: text, expiresIn: TICKET_SECONDS };
    },
  };
}
