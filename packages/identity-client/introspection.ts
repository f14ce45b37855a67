import { randomUUID } from "node:crypto";
import { ROLES, SCOPES, type Caller, type CredentialRevocation, type GraphClient } from "@toolyard/service-kit";
import { z } from "zod";

const time = z
  .string()
  .transform((text) => Date.parse(text))
  .pipe(z.number());

const introspection = z.object({
  active: z.boolean(),
  subject: z.string().nullable(),
  role: z.enum(ROLES).nullable(),
  scopes: z.array(z.enum(SCOPES)),
  /** The tools that the credential is limited to; null: it is not. */
  toolIds: z.array(z.string()).nullable(),
  /** Epoch ms. */
  expiresAt: time.nullable(),
  /** The API key that this is, or that a ticket was made with. */
  apiKeyId: z.string().nullable(),
  /** The access token that a ticket was made with, and when it was issued (epoch ms). */
  tokenId: z.string().nullable(),
  issuedAt: time.nullable(),
});
const revocation = z.object({
  sequence: z.string(),
  at: time,
  tokenId: z.string().nullable(),
  apiKeyId: z.string().nullable(),
  userId: z.string().nullable(),
});

const logRange = z.object({ oldestSequence: z.string(), latestSequence: z.string() });

/** Identity's answer about a credential that cannot be checked by a public key. */
export type Introspection = z.output<typeof introspection>;

interface SequencedRevocation extends CredentialRevocation {
  /** Its place in identity's log. */
  sequence: string;
}

/** Identity as verifiers of credentials ask it. */
export interface IdentityService {
  /** @throws when identity does not answer in time, or its answer is not an introspection */
  introspect(credential: string): Promise<Introspection>;
  /**
   * The place in the log up to which a verifier that knows nothing is to read: its latest revocation, or "0" where it has none.
   * @throws when identity does not answer in time
   */
  endOfRevocations(signal: AbortSignal): Promise<string>;
  /** Epoch ms by identity's clock. @throws when identity does not answer in time */
  time(): Promise<number>;
  /**
   * Revocations after a place in the log ("0": all that it has), then new ones; throws when the stream breaks.
   * @throws ToolyardError with `extensions.oldestSequence` where the log no longer reaches back to `after`, and with
   *   `extensions.latestSequence` where it does not reach so far
   */
  revocations(after: string, signal: AbortSignal): AsyncIterable<SequencedRevocation>;
}

const INTROSPECT = `query Introspect($credential: String!, $question: String!) { introspectCredential(credential: $credential, question: $question) {
  active subject role scopes toolIds expiresAt apiKeyId tokenId issuedAt } }`;
const LOG = "query RevocationLog { revocationLog { oldestSequence latestSequence } }";
const TIME = "query IdentityTime { identityTime }";
const REVOCATIONS = `subscription Revocations($after: String) { credentialsRevoked(after: $after) {
  sequence at tokenId apiKeyId userId } }`;
const ASK_MS = 3_000;

/** Identity through the graph: in this process or over HTTP, as `graph` has it, as a service that has both permissions. */
export function createIdentityService({ graph, as }: { graph: GraphClient; as: Caller }): IdentityService {
  return {
    async introspect(credential) {
      const signal = AbortSignal.timeout(ASK_MS);
      const variables = { credential, question: randomUUID() };
      const data = await graph.query({ query: INTROSPECT, variables, as, signal });
      return z.object({ introspectCredential: introspection }).parse(data).introspectCredential;
    },
    async endOfRevocations(ended) {
      const signal = AbortSignal.any([ended, AbortSignal.timeout(ASK_MS)]);
      const data = await graph.query({ query: LOG, as, signal });
      const { oldestSequence, latestSequence } = z.object({ revocationLog: logRange }).parse(data).revocationLog;
      // All that it had was trimmed away.
      return oldestSequence === latestSequence ? "0" : latestSequence;
    },
    async time() {
      const data = await graph.query({ query: TIME, as, signal: AbortSignal.timeout(ASK_MS) });
      return z.object({ identityTime: time }).parse(data).identityTime;
    },
    async *revocations(after, signal) {
      for await (const data of graph.subscribe({ query: REVOCATIONS, variables: { after }, as, signal }))
        yield z.object({ credentialsRevoked: revocation }).parse(data).credentialsRevoked;
    },
  };
}
