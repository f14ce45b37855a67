import {
  createCaller,
  createRevocationList,
  createServiceCaller,
  createTokenSigner,
  createUserCaller,
  type Caller,
} from "@toolyard/service-kit";
import { codeOf, dataOf, subscribeOn, type AnswerStream } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PASSWORD, startIdentity, verifierService, type Identity } from "./identity-fixture.ts";

const TICKET = "mutation { createStreamTicket { ticket expiresIn } }";
const CREATE_KEY = 'mutation { createApiKey(input: { name: "k", scopes: [READ, WRITE] }) { secret apiKey { id } } }';
const REVOKED =
  "subscription ($after: String) { credentialsRevoked(after: $after) { sequence at tokenId apiKeyId userId } }";
const INACTIVE = { active: false, subject: null, role: null, scopes: [], expiresAt: null };

interface Revoked {
  credentialsRevoked: {
    sequence: string;
    at: string;
    tokenId: string | null;
    apiKeyId: string | null;
    userId: string | null;
  };
}

let identity: Identity;
beforeAll(async () => {
  identity = await startIdentity();
});
afterAll(() => identity[Symbol.asyncDispose]());

const ticketOf = async (caller: Caller) =>
  (await dataOf<{ createStreamTicket: { ticket: string } }>(identity.subgraph, TICKET, {}, caller)).createStreamTicket
    .ticket;
const keyOf = async (caller: Caller) =>
  (
    await dataOf<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
      identity.subgraph,
      CREATE_KEY,
      {},
      caller,
    )
  ).createApiKey;
const newUser = async (username: string) => {
  const session = await identity.register(username);
  return { session, caller: await identity.callerOf(session.accessToken) };
};

describe("introspection", () => {
  test("is for services with the permission only", async () => {
    const query = '{ introspectCredential(credential: "x") { active } }';
    expect(await codeOf(identity.subgraph, query)).toBe("UNAUTHENTICATED");
    expect(await codeOf(identity.subgraph, query, {}, createUserCaller("x", "ADMIN"))).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, query, {}, createServiceCaller("proxy", ["internal:usage"]))).toBe(
      "FORBIDDEN",
    );
  });

  test("says of an access token and an API key whose they are, what for and until when", async () => {
    const { session, caller } = await newUser("introspected");
    const { secret, apiKey } = await keyOf(caller);
    const subject = session.user.id;
    const tokenId = caller.credential?.type === "access-token" ? caller.credential.tokenId : "";
    expect(await identity.introspect(session.accessToken)).toMatchObject({
      active: true,
      subject,
      role: "VIEWER",
      scopes: ["READ", "WRITE", "INVOKE"],
      tokenId,
      apiKeyId: null,
    });
    const key = await identity.introspect(secret);
    expect(key).toMatchObject({
      active: true,
      subject,
      apiKeyId: apiKey.id,
      tokenId: null,
      expiresAt: null,
      passwordAt: null,
    });
  });

  test("calls everything else inactive, and says no more", async () => {
    const { session, caller } = await newUser("confused");
    const { secret } = await keyOf(caller);
    const signer = createTokenSigner({ secretKey: "a secret key for tests, of enough characters" });
    const foreign = createTokenSigner({ secretKey: "another secret key for tests, of enough characters" });
    const token = { userId: session.user.id, role: "ADMIN", scopes: ["ADMIN"], passwordAt: null } as const;
    const credentials = {
      empty: "",
      junk: "junk",
      "an API key with another secret": `${secret.slice(0, -1)}${secret.endsWith("A") ? "B" : "A"}`,
      "an API key with something after it": `${secret}A`,
      "an API key called a ticket": secret.replace("ty_", "tyt_"),
      "an API key called a refresh token": secret.replace("ty_", "tyr_"),
      "a refresh token": session.refreshToken,
      "a refresh token called an API key": session.refreshToken.replace("tyr_", "ty_"),
      "a service's token": await signer.serviceToken("proxy", ["internal:usage"], 60),
      "a signed caller header": await signer.callerHeader(caller, "identity"),
      "a token signed with another key": (await foreign.accessToken(token)).token,
      "a token that no session issued": (await signer.accessToken(token)).token,
      "a token without a signature": `${session.accessToken.split(".").slice(0, 2).join(".")}.`,
    };
    for (const [what, credential] of Object.entries(credentials)) {
      expect(await identity.introspect(credential), what).toMatchObject(INACTIVE);
    }
  });
});

describe("a stream ticket", () => {
  test("is good once, to read as the user", async () => {
    const { session, caller } = await newUser("streamer");
    const ticket = await ticketOf(caller);
    const answers = await Promise.all([1, 2, 3].map(() => identity.introspect(ticket)));
    const active = answers.filter((answer) => answer.active);
    expect(active).toHaveLength(1);
    const tokenId = caller.credential?.type === "access-token" ? caller.credential.tokenId : "";
    expect(active[0]).toMatchObject({ subject: session.user.id, scopes: ["READ"], tokenId, passwordAt: null });
    expect(await identity.introspect(ticket)).toMatchObject(INACTIVE);
  });

  test("is good for a minute", async () => {
    await using later = await startIdentity();
    const caller = await later.callerOf((await later.register("ada")).accessToken);
    const { createStreamTicket } = await dataOf<{ createStreamTicket: { ticket: string; expiresIn: number } }>(
      later.subgraph,
      TICKET,
      {},
      caller,
    );
    expect(createStreamTicket.expiresIn).toBe(60);
    later.advance(60_000);
    expect(await later.introspect(createStreamTicket.ticket)).toMatchObject(INACTIVE);
  });

  test("ends with the credential it was made with", async () => {
    const { session, caller } = await newUser("ender");
    const { secret, apiKey } = await keyOf(caller);
    const byKey = await ticketOf(await identity.callerOfKey(secret));
    await dataOf(identity.subgraph, "mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: apiKey.id }, caller);
    expect((await identity.introspect(byKey)).active).toBe(false);
    const bySession = await ticketOf(caller);
    await dataOf(identity.subgraph, "mutation { logout }", {}, caller);
    expect((await identity.introspect(bySession)).active).toBe(false);
    expect(await codeOf(identity.subgraph, TICKET, {}, caller)).toBe("UNAUTHENTICATED");
    const again = await identity.callerOf((await identity.login("ender")).accessToken);
    const ticket = await ticketOf(again);
    const disable = "mutation ($id: ID!) { setUserDisabled(userId: $id, disabled: true) { id } }";
    await dataOf(identity.subgraph, disable, { id: session.user.id }, await identity.admin());
    expect((await identity.introspect(ticket)).active).toBe(false);
  });

  test("makes no ticket, key or anything else that lasts", async () => {
    const { caller } = await newUser("laundry");
    const { subject } = await identity.introspect(await ticketOf(caller));
    const byTicket = createCaller({ ...caller, subject, scopes: ["READ"], credential: null });
    expect(await codeOf(identity.subgraph, CREATE_KEY, {}, byTicket)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, TICKET, {}, byTicket)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, "mutation { logout }", {}, byTicket)).toBe("FORBIDDEN");
  });
});

describe("credentialsRevoked", () => {
  const next = async (stream: AnswerStream<Revoked>) => {
    const timeout = AbortSignal.timeout(10_000);
    const late = new Promise<never>((_, reject) => {
      timeout.addEventListener("abort", () => reject(new Error("no revocation within 10 s")));
    });
    const step = await Promise.race([stream.next(), late]);
    const revoked = step.done ? null : step.value.data?.credentialsRevoked;
    if (!revoked) throw new Error("the stream ended");
    return revoked;
  };

  test("is for services with the permission only", async () => {
    await expect(subscribeOn(identity.subgraph, REVOKED, {}, createUserCaller("x", "ADMIN"))).rejects.toThrow(
      "FORBIDDEN",
    );
    await expect(subscribeOn(identity.subgraph, REVOKED)).rejects.toThrow("UNAUTHENTICATED");
  });

  test("tells verifiers of every kind of revocation, in order, also after the fact", async () => {
    await using installation = await startIdentity();
    const admin = await installation.admin();
    const run = (query: string, variables: Record<string, unknown>, caller: Caller) =>
      dataOf(installation.subgraph, query, variables, caller);
    await using live = await subscribeOn<Revoked>(installation.subgraph, REVOKED, { after: "0" }, verifierService);

    const session = await installation.register("ada");
    const caller = await installation.callerOf(session.accessToken);
    const userId = caller.userId ?? "";
    const tokenId = caller.credential?.type === "access-token" ? caller.credential.tokenId : "";
    type Key = { createApiKey: { apiKey: { id: string } } };
    const { createApiKey } = await dataOf<Key>(installation.subgraph, CREATE_KEY, {}, caller);
    await run("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: createApiKey.apiKey.id }, caller);
    await run("mutation { logout }", {}, caller);
    const again = await installation.callerOf((await installation.login("ada")).accessToken);
    const change = { c: PASSWORD, n: "another, long enough" };
    await run("mutation ($c: String!, $n: String!) { changePassword(current: $c, new: $n) }", change, again);
    await run("mutation ($id: ID!) { setUserRole(userId: $id, role: DEVELOPER) { id } }", { id: userId }, admin);
    await run("mutation ($id: ID!) { resetPassword(userId: $id) }", { id: userId }, admin);
    await run("mutation ($id: ID!) { setUserDisabled(userId: $id, disabled: true) { id } }", { id: userId }, admin);

    const none = { tokenId: null, apiKeyId: null, userId: null };
    const expected = [
      { ...none, apiKeyId: createApiKey.apiKey.id },
      { ...none, tokenId },
      ...Array.from({ length: 4 }, () => ({ ...none, userId })),
    ];
    const seen: Revoked["credentialsRevoked"][] = [];
    for (const revocation of expected) {
      seen.push(await next(live));
      expect(seen.at(-1)).toMatchObject(revocation);
    }
    expect(seen.map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3, 4, 5, 6]);
    await using resumed = await subscribeOn<Revoked>(installation.subgraph, REVOKED, { after: "4" }, verifierService);
    expect(await next(resumed)).toEqual(seen[4]);

    const list = createRevocationList();
    for (const { sequence: _, at, ...ids } of seen) list.add({ ...ids, at: Date.parse(at) });
    expect([caller, again].map((each) => list.isRevoked(each))).toEqual([true, true]);
    expect(list.isRevoked(admin)).toBe(false);
  });

  test("tells of every access token of a session whose refresh token was used twice", async () => {
    await using installation = await startIdentity();
    await using live = await subscribeOn<Revoked>(installation.subgraph, REVOKED, { after: "0" }, verifierService);
    const refresh = "mutation ($t: String!) { refreshSession(refreshToken: $t) { accessToken refreshToken } }";
    type Refreshed = { refreshSession: { accessToken: string; refreshToken: string } };
    const first = await installation.register("ada");
    const second = (await dataOf<Refreshed>(installation.subgraph, refresh, { t: first.refreshToken })).refreshSession;
    expect(await codeOf(installation.subgraph, refresh, { t: first.refreshToken })).toBe("UNAUTHENTICATED");
    const tokenIds = await Promise.all(
      [first, second].map(async ({ accessToken }) => {
        const { credential } = await installation.callerOf(accessToken);
        return credential?.type === "access-token" ? credential.tokenId : "";
      }),
    );
    const revoked = [(await next(live)).tokenId, (await next(live)).tokenId];
    expect(new Set(revoked)).toEqual(new Set(tokenIds));
  });

  test("ends at once when the verifier leaves while nothing happens", async () => {
    const stream = await subscribeOn<Revoked>(identity.subgraph, REVOKED, {}, verifierService);
    const waiting = stream.next();
    await stream.return();
    expect((await waiting).done).toBe(true);
  });
});
