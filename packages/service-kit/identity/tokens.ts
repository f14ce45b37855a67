import { randomUUID, type KeyObject } from "node:crypto";
import {
  SignJWT,
  createLocalJWKSet,
  errors as joseErrors,
  exportJWK,
  jwtVerify,
  type JSONWebKeySet,
  type JWTPayload,
  type JWTVerifyGetKey,
} from "jose";
import { z } from "zod";
import { callerData, createCaller, type Caller, type CallerFields } from "./caller.ts";
import { ToolyardError } from "../errors/errors.ts";
import { deriveSigningKeys } from "./keys.ts";
import { ROLES, SCOPES, SERVICE_PERMISSIONS, type Role, type Scope, type ServicePermission } from "./permissions.ts";

const ISSUER = "toolyard";
const ALGORITHM = "EdDSA";
/** Seconds that clocks of two hosts may differ. */
const CLOCK_TOLERANCE_SECONDS = 5;

/** Milliseconds that an issuer's clock may be ahead; with more, a clock was set back meanwhile. */
const MAX_AHEAD_MS = 60_000;

export const ACCESS_TOKEN_SECONDS = 15 * 60;
const CALLER_HEADER_SECONDS = 30;
/** The audience of a caller header that is not meant for a subgraph. */
export const GATEWAY_AUDIENCE = "gateway";
/** The header by which the gateway tells a subgraph over HTTP who is calling, and a subgraph the gateway. */
export const CALLER_HEADER = "x-toolyard-caller";

interface AccessTokenInput {
  userId: string;
  role: Role;
  scopes: readonly Scope[];
  /** Epoch ms of the last password entry in this session, or null. */
  passwordAt: number | null;
  /** The `jti`, where the issuer has written it down already. */
  tokenId?: string;
  /** Epoch ms as of which the token is issued; now when left out. Taken before a revocation of it can commit. */
  issuedAt?: number;
}

/** Data sent with a caller from one part to another. */
export interface CallerHeaderFacts {
  /** Where the client's own request came from. */
  clientAddress?: string | undefined;
  /** Whether it is sent with a mutation. */
  isMutation?: boolean;
}

/** Signs tokens; only processes that hold SECRET_KEY can. */
export interface TokenSigner {
  /** An access token of `ACCESS_TOKEN_SECONDS`. */
  accessToken(input: AccessTokenInput): Promise<{ token: string; tokenId: string; expiresAt: number }>;
  /** A service principal's token, `sub: service:<name>`. `seconds`: no more than the holder needs. */
  serviceToken(name: string, permissions: readonly ServicePermission[], seconds: number): Promise<string>;
  /**
   * A caller for `CALLER_HEADER`, good for half a minute and for one part of Toolyard alone.
   * @param audience A subgraph's name, or `GATEWAY_AUDIENCE`.
   */
  callerHeader(caller: Caller, audience: string, about?: CallerHeaderFacts): Promise<string>;
  /** Public keys, for `/.well-known/jwks.json`. */
  jwks(): Promise<JSONWebKeySet>;
}

export function createTokenSigner(options: { secretKey: string; previousSecretKeys?: readonly string[] }): TokenSigner {
  const tokens = deriveSigningKeys(options.secretKey, "token-signing");
  const callers = deriveSigningKeys(options.secretKey, "caller-signing");
  const sign = (
    payload: JWTPayload,
    audience: string,
    seconds: number,
    key: { kid: string; privateKey: KeyObject },
    issuedAt = Date.now(),
  ) =>
    new SignJWT(payload)
      .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: "JWT" })
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setIssuedAt(Math.floor(issuedAt / 1000))
      .setExpirationTime(Math.floor(issuedAt / 1000) + seconds)
      .sign(key.privateKey);
  return {
    async accessToken({ userId, role, scopes, passwordAt, tokenId = randomUUID(), issuedAt = Date.now() }) {
      const expiresAt = issuedAt + ACCESS_TOKEN_SECONDS * 1000;
      const payload = {
        sub: userId,
        role,
        scopes: [...scopes],
        jti: tokenId,
        ...(passwordAt !== null && { auth_time: Math.floor(passwordAt / 1000) }),
      };
      // `iat` has whole seconds; revocation compares milliseconds.
      const token = await sign({ ...payload, iat_ms: issuedAt }, "toolyard", ACCESS_TOKEN_SECONDS, tokens, issuedAt);
      return { token, tokenId, expiresAt };
    },
    serviceToken: (name, permissions, seconds) =>
      sign({ sub: `service:${name}`, permissions: [...permissions], jti: randomUUID() }, "toolyard", seconds, tokens),
    callerHeader: (caller, audience, { clientAddress, isMutation = false } = {}) =>
      sign(
        { caller: callerData(caller), clientAddress, isMutation },
        audienceOf(audience),
        CALLER_HEADER_SECONDS,
        callers,
      ),
    async jwks() {
      const secrets = [options.secretKey, ...(options.previousSecretKeys ?? [])];
      const keys = await Promise.all(
        secrets.map(async (secret) => {
          const { kid, publicKey } = deriveSigningKeys(secret, "token-signing");
          return { ...(await exportJWK(publicKey)), kid, alg: ALGORITHM, use: "sig" };
        }),
      );
      return { keys };
    },
  };
}

const userClaims = z.object({
  sub: z.string().min(1),
  role: z.enum(ROLES),
  scopes: z.array(z.enum(SCOPES)),
  jti: z.string(),
  iat_ms: z.number(),
  exp: z.number(),
  auth_time: z.number().optional(),
});
const serviceClaims = z.object({
  sub: z.string().startsWith("service:"),
  permissions: z.array(z.enum(SERVICE_PERMISSIONS)),
  jti: z.string(),
  exp: z.number(),
});

/** Verifies access tokens and service tokens by public keys. */
export interface TokenVerifier {
  /** @throws ToolyardError UNAUTHENTICATED that says whether the token is malformed, expired, or not ours. */
  verify(token: string): Promise<Caller>;
}

/** `keys`: a JWKS, or the SECRET_KEYs (current first) to derive it from. */
export function createTokenVerifier(options: {
  keys: JSONWebKeySet | { secretKeys: readonly string[] };
  /** Of the issuer, where that is this process. */
  now?: () => number;
}): TokenVerifier {
  const { now = Date.now } = options;
  const getKey =
    "secretKeys" in options.keys
      ? localKeys(options.keys.secretKeys, "token-signing")
      : createLocalJWKSet(options.keys);
  return {
    async verify(token) {
      const payload = await verifyJwt(token, getKey, "toolyard");
      const service = serviceClaims.safeParse(payload);
      if (service.success) {
        return createCaller({
          kind: "service",
          subject: service.data.sub,
          role: null,
          scopes: [],
          servicePermissions: service.data.permissions,
          credential: { type: "service" },
          toolIds: null,
          expiresAt: service.data.exp * 1000,
        });
      }
      const user = userClaims.safeParse(payload);
      if (!user.success || user.data.sub.startsWith("service:")) {
        throw new ToolyardError("UNAUTHENTICATED", "The token lacks claims that every access token has.");
      }
      const { sub, role, scopes, jti, iat_ms, exp, auth_time } = user.data;
      // Revocations of users hold for tokens that were issued before them.
      if (iat_ms > now() + MAX_AHEAD_MS)
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "The access token is of a later time than it is here: a clock was wrong, or is. Refresh it or log in again.",
        );
      return createCaller({
        kind: "user",
        subject: sub,
        role,
        scopes,
        servicePermissions: [],
        credential: {
          type: "access-token",
          tokenId: jti,
          issuedAt: iat_ms,
          passwordAt: auth_time === undefined ? null : auth_time * 1000,
        },
        toolIds: null,
        expiresAt: exp * 1000,
      });
    },
  };
}

const callerSchema = z.object({
  kind: z.enum(["anonymous", "user", "service"]),
  subject: z.string().nullable(),
  role: z.enum(ROLES).nullable(),
  scopes: z.array(z.enum(SCOPES)),
  servicePermissions: z.array(z.enum(SERVICE_PERMISSIONS)),
  credential: z
    .discriminatedUnion("type", [
      z.object({
        type: z.literal("access-token"),
        tokenId: z.string(),
        passwordAt: z.number().nullable(),
        issuedAt: z.number(),
      }),
      z.object({ type: z.literal("api-key"), apiKeyId: z.string() }),
      z.object({ type: z.literal("service") }),
    ])
    .nullable(),
  toolIds: z.array(z.string()).nullable(),
  expiresAt: z.number().nullable(),
} satisfies CallerFields);

const signedCaller = z.object({
  caller: callerSchema,
  clientAddress: z.string().optional(),
  isMutation: z.boolean(),
});

function audienceOf(part: string): string {
  return `toolyard-part:${part}`;
}

/** The content of `CALLER_HEADER`. */
export interface SignedCaller {
  caller: Caller;
  /** Where the client's own request came from. */
  clientAddress: string | undefined;
  /** Whether it was signed for a mutation; else it is good for none. */
  isMutation: boolean;
}

/** Opens `CALLER_HEADER` where it arrives, if it is for this part. @throws ToolyardError UNAUTHENTICATED */
export function createCallerHeaderVerifier(options: {
  secretKeys: readonly string[];
  /** The subgraph's name, or `GATEWAY_AUDIENCE`. */
  audience: string;
}): (header: string) => Promise<SignedCaller> {
  const getKey = localKeys(options.secretKeys, "caller-signing");
  return async (header) => {
    const payload = await verifyJwt(header, getKey, audienceOf(options.audience));
    const parsed = signedCaller.safeParse(payload);
    if (!parsed.success) throw new ToolyardError("UNAUTHENTICATED", "The caller header is malformed.");
    const { clientAddress, isMutation } = parsed.data;
    return { caller: createCaller(parsed.data.caller), clientAddress, isMutation };
  };
}

function localKeys(secretKeys: readonly string[], purpose: "token-signing" | "caller-signing"): JWTVerifyGetKey {
  const byId = new Map(
    secretKeys.map((secret) => deriveSigningKeys(secret, purpose)).map((pair) => [pair.kid, pair.publicKey]),
  );
  return async ({ kid }) => {
    const key = kid === undefined ? undefined : byId.get(kid);
    if (!key) throw new joseErrors.JWKSNoMatchingKey();
    return key;
  };
}

async function verifyJwt(token: string, getKey: JWTVerifyGetKey, audience: string): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, getKey, {
      issuer: ISSUER,
      audience,
      algorithms: [ALGORITHM],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    return payload;
  } catch (cause) {
    const reason =
      cause instanceof joseErrors.JWTExpired
        ? "The access token has expired: refresh it or log in again."
        : cause instanceof joseErrors.JWKSNoMatchingKey
          ? "The token was signed with a key that is not in use here."
          : cause instanceof joseErrors.JWSSignatureVerificationFailed
            ? "The token's signature is wrong."
            : "The credential is malformed: it is neither an access token nor an API key.";
    throw new ToolyardError("UNAUTHENTICATED", reason, { cause });
  }
}
