import { randomUUID, type KeyObject } from "node:crypto";
import type { JSONWebKeySet, JWTPayload, JWTVerifyGetKey } from "jose";
import * as joseErrors from "jose/errors";
import { createLocalJWKSet } from "jose/jwks/local";
import { SignJWT } from "jose/jwt/sign";
import { jwtVerify } from "jose/jwt/verify";
import { exportJWK } from "jose/key/export";
import { z } from "zod";
import { callerData, createCaller, type Caller, type CallerFields } from "./caller.ts";
import { AWAY_RETRY_SECONDS, ToolyardError } from "../errors/errors.ts";
import { deriveSigningKeys } from "./keys.ts";
import type { ClockWatch } from "./clock-watch.ts";
import { ROLES, SCOPES, SERVICE_PERMISSIONS, type Role, type Scope, type ServicePermission } from "./permissions.ts";

const ISSUER = "toolyard";
const ALGORITHM = "EdDSA";
/** Seconds that an access token is taken longer, by a clock that is not quite its issuer's. */
const CLOCK_TOLERANCE_SECONDS = 5;
/** Seconds that the clocks of two parts may differ: a caller header is taken for so much longer. As Kerberos has it (RFC 4120, section 1.6). */
const CALLER_LEEWAY_SECONDS = 5 * 60;

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

export function createTokenSigner(options: {
  secretKey: string;
  previousSecretKeys?: readonly string[];
  /** Of what it signs, unless that says when it was issued. */
  now?: () => number;
}): TokenSigner {
  const { now = Date.now } = options;
  const tokens = deriveSigningKeys(options.secretKey, "token-signing");
  const callers = deriveSigningKeys(options.secretKey, "caller-signing");
  const sign = (
    payload: JWTPayload,
    audience: string,
    seconds: number,
    key: { kid: string; privateKey: KeyObject },
    issuedAt = now(),
  ) =>
    new SignJWT(payload)
      .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: "JWT" })
      .setIssuer(ISSUER)
      .setAudience(audience)
      .setIssuedAt(Math.floor(issuedAt / 1000))
      .setExpirationTime(Math.floor(issuedAt / 1000) + seconds)
      .sign(key.privateKey);
  return {
    async accessToken({ userId, role, scopes, passwordAt, tokenId = randomUUID(), issuedAt = now() }) {
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

/** UNAUTHENTICATED for a token that is right but for its time by the clock that it was judged by. */
export class UntimelyToken extends ToolyardError {
  constructor(message: string, cause?: unknown) {
    super("UNAUTHENTICATED", message, { cause });
  }
}

/** Verifies access tokens and service tokens by public keys. */
export interface TokenVerifier {
  /** @throws ToolyardError UNAUTHENTICATED that says whether the token is malformed, expired, or not ours. */
  verify(token: string): Promise<Caller>;
}

/** `keys`: a JWKS, or the SECRET_KEYs (current first) to derive it from. */
export function createTokenVerifier(options: {
  keys: JSONWebKeySet | { secretKeys: readonly string[] };
  /** Epoch milliseconds by the issuer's clock, as far as it is known. */
  now?: () => number;
}): TokenVerifier {
  const { now = Date.now } = options;
  const getKey =
    "secretKeys" in options.keys
      ? localKeys(options.keys.secretKeys, "token-signing")
      : createLocalJWKSet(options.keys);
  return {
    async verify(token) {
      const payload = await verifyJwt(token, getKey, { audience: "toolyard", now, tolerance: CLOCK_TOLERANCE_SECONDS });
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
        throw new UntimelyToken(
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

/**
 * Opens `CALLER_HEADER` where it arrives, if it is for this part.
 * @throws ToolyardError UNAUTHENTICATED; UPSTREAM_UNAVAILABLE where it is right but for its time, which is no fault of the caller's
 */
export function createCallerHeaderVerifier(options: {
  secretKeys: readonly string[];
  /** The subgraph's name, or `GATEWAY_AUDIENCE`. */
  audience: string;
  now?: () => number;
  /** Is told what headers say of their signers' clocks. */
  watch?: ClockWatch;
}): (header: string) => Promise<SignedCaller> {
  const { audience, now = Date.now, watch } = options;
  const getKey = localKeys(options.secretKeys, "caller-signing");
  const judged = { audience: audienceOf(audience), now, tolerance: CALLER_LEEWAY_SECONDS };

  /** A header that is ahead of its time would be good for longer. */
  function judgeTime({ iat = 0 }: JWTPayload, isExpired: boolean): void {
    const aheadMs = iat * 1_000 - now();
    const isRefused = isExpired || aheadMs > CALLER_LEEWAY_SECONDS * 1_000;
    watch?.note(aheadMs, isRefused);
    if (isRefused) throw clocksDiffer(aheadMs, audience);
  }

  return async (header) => {
    const payload = await verifyJwt(header, getKey, judged).catch((error: unknown) => {
      const cause = error instanceof ToolyardError ? error.cause : null;
      // Its time is looked at last, when the signature and all else is right.
      if (cause instanceof joseErrors.JWTExpired) judgeTime(cause.payload, true);
      throw error;
    });
    judgeTime(payload, false);
    const parsed = signedCaller.safeParse(payload);
    if (!parsed.success) throw new ToolyardError("UNAUTHENTICATED", "The caller header is malformed.");
    const { clientAddress, isMutation } = parsed.data;
    return { caller: createCaller(parsed.data.caller), clientAddress, isMutation };
  };
}

function clocksDiffer(aheadMs: number, audience: string): ToolyardError {
  const seconds = Math.round(Math.abs(aheadMs) / 1_000);
  const who = audience === GATEWAY_AUDIENCE ? "a part that asks the gateway" : "the gateway that asks it";
  return new ToolyardError(
    "UPSTREAM_UNAVAILABLE",
    `The clocks of ${audience}'s host and of ${who} are ${seconds} s apart, and ${CALLER_LEEWAY_SECONDS} s are borne. Whoever runs Toolyard must set them, as by NTP.`,
    { retryAfterSeconds: AWAY_RETRY_SECONDS },
  );
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

async function verifyJwt(
  token: string,
  getKey: JWTVerifyGetKey,
  /** `tolerance` in seconds. */
  { audience, now, tolerance }: { audience: string; now: () => number; tolerance: number },
): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, getKey, {
      issuer: ISSUER,
      audience,
      algorithms: [ALGORITHM],
      clockTolerance: tolerance,
      currentDate: new Date(now()),
    });
    return payload;
  } catch (cause) {
    if (cause instanceof joseErrors.JWTExpired)
      throw new UntimelyToken("The access token has expired: refresh it or log in again.", cause);
    const reason =
      cause instanceof joseErrors.JWKSNoMatchingKey
        ? "The token was signed with a key that is not in use here."
        : cause instanceof joseErrors.JWSSignatureVerificationFailed
          ? "The token's signature is wrong."
          : "The credential is malformed: it is neither an access token nor an API key.";
    throw new ToolyardError("UNAUTHENTICATED", reason, { cause });
  }
}
