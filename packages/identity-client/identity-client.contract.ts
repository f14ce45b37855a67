import type { Caller } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { expect, test } from "vitest";
import type { IdentityClient } from "./identity-client.ts";

/** An installation's identity and one who verifies by it, over some transport. */
export interface IdentityClientFixture {
  client: IdentityClient;
  /** Moves the clocks of both. */
  advance(ms: number): void;
  /** Breaks the transport and all that runs over it, until `mend`. */
  cut(): void;
  mend(): void;
  /** A new user's access token. */
  logIn(username: string): Promise<string>;
  serviceToken(): Promise<string>;
  /** A new API key of whoever has the token. */
  createApiKey(accessToken: string): Promise<{ id: string; secret: string }>;
  revokeApiKey(accessToken: string, id: string): Promise<void>;
  logOut(accessToken: string): Promise<void>;
  disable(username: string): Promise<void>;
  /** Has the log forget what is older than it keeps. */
  trim(): Promise<void>;
}

const WEEK_MS = 7 * 24 * 3_600_000;

/** The contract of every transport. `withFixture` makes an installation of its own and releases it after. */
export function identityClientContract(
  withFixture: (run: (fixture: IdentityClientFixture) => Promise<void>) => Promise<void>,
): void {
  /** Told of revocations; `next` waits for one that is not taken yet. */
  function revocationsOf({ client }: IdentityClientFixture) {
    const told: ((caller: Caller) => boolean)[] = [];
    client.onRevoked((isConcerned) => told.push(isConcerned));
    const next = () => eventually("a revocation", () => told.shift());
    return { told, next };
  }
  const authenticate = async ({ client }: IdentityClientFixture, credential: string) =>
    client.authenticate(`Bearer ${credential}`);
  const unauthenticated = { code: "UNAUTHENTICATED" };
  const away = { code: "UPSTREAM_UNAVAILABLE", extensions: { retryAfterSeconds: 5 } };

  test("whoever has an access token or an API key is known; others are not", () =>
    withFixture(async (fixture) => {
      fixture.client.start();
      const token = await fixture.logIn("ada");
      const key = await fixture.createApiKey(token);
      const caller = await authenticate(fixture, token);
      expect(caller).toMatchObject({ kind: "user", role: "VIEWER", credential: { type: "access-token" } });
      expect(await authenticate(fixture, key.secret)).toMatchObject({
        subject: caller.subject,
        credential: { type: "api-key", apiKeyId: key.id },
      });
      expect((await fixture.client.authenticate(undefined)).kind).toBe("anonymous");
      const last = key.secret.endsWith("A") ? "B" : "A";
      for (const bad of [key.secret.slice(0, -1) + last, `${token.slice(0, -4)}AAAA`, "rubbish"])
        await expect(authenticate(fixture, bad)).rejects.toMatchObject(unauthenticated);
    }));

  test("what is revoked is refused at once, and whoever follows is told whom it concerns", () =>
    withFixture(async (fixture) => {
      const { next } = revocationsOf(fixture);
      fixture.client.start();
      const token = await fixture.logIn("ada");
      const other = await fixture.logIn("bob");
      const key = await fixture.createApiKey(token);
      const callers = await Promise.all([token, key.secret, other].map((each) => authenticate(fixture, each)));
      await fixture.revokeApiKey(token, key.id);
      expect(callers.map(await next())).toEqual([false, true, false]);
      await expect(authenticate(fixture, key.secret)).rejects.toMatchObject(unauthenticated);
      await fixture.logOut(token);
      expect(callers.map(await next())).toEqual([true, true, false]);
      await expect(authenticate(fixture, token)).rejects.toMatchObject(unauthenticated);
      expect(await authenticate(fixture, other)).toBe(callers[2]);
      await fixture.disable("bob");
      expect(callers.map(await next())[2]).toBe(true);
      await expect(authenticate(fixture, other)).rejects.toMatchObject(unauthenticated);
    }));

  test("until the log was read once no user's access token is judged; then what was revoked before is refused", () =>
    withFixture(async (fixture) => {
      const [gone, good] = [await fixture.logIn("ada"), await fixture.logIn("bob")];
      await fixture.logOut(gone);
      fixture.cut();
      fixture.client.start();
      for (const token of [gone, good]) await expect(authenticate(fixture, token)).rejects.toMatchObject(away);
      await expect(authenticate(fixture, "rubbish")).rejects.toMatchObject(unauthenticated);
      expect(await authenticate(fixture, await fixture.serviceToken())).toMatchObject({ kind: "service" });
      fixture.mend();
      await eventually("the log is read", () => authenticate(fixture, good).catch(() => null));
      await expect(authenticate(fixture, gone)).rejects.toMatchObject(unauthenticated);
    }));

  test("an access token that comes before the log was read waits for it", () =>
    withFixture(async (fixture) => {
      const [gone, good] = [await fixture.logIn("ada"), await fixture.logIn("bob")];
      await fixture.logOut(gone);
      const [first, second] = [authenticate(fixture, good), authenticate(fixture, gone)];
      fixture.client.start();
      await expect(second).rejects.toMatchObject(unauthenticated);
      expect(await first).toMatchObject({ kind: "user" });
    }));

  test("a stream that broke goes on from where it was: nothing is missed, nothing told twice", () =>
    withFixture(async (fixture) => {
      const { told, next } = revocationsOf(fixture);
      fixture.client.start();
      const [first, second, third] = [
        await fixture.logIn("ada"),
        await fixture.logIn("bob"),
        await fixture.logIn("cyd"),
      ];
      const callers = await Promise.all([first, second, third].map((each) => authenticate(fixture, each)));
      await fixture.logOut(first);
      expect(callers.map(await next())).toEqual([true, false, false]);
      fixture.cut();
      await fixture.logOut(second);
      expect(await authenticate(fixture, second)).toBe(callers[1]);
      fixture.mend();
      expect(callers.map(await next())).toEqual([true, true, false]);
      await expect(authenticate(fixture, second)).rejects.toMatchObject(unauthenticated);
      await fixture.logOut(third);
      expect(callers.map(await next())).toEqual([true, true, true]);
      expect(told).toEqual([]);
    }));

  test("while identity is away what was good goes on for an hour, and what is unknown is not judged", () =>
    withFixture(async (fixture) => {
      const token = await fixture.logIn("ada");
      const [key, unasked] = [await fixture.createApiKey(token), await fixture.createApiKey(token)];
      const caller = await authenticate(fixture, key.secret);
      fixture.cut();
      fixture.advance(59 * 60_000);
      expect(await authenticate(fixture, key.secret)).toBe(caller);
      await expect(authenticate(fixture, unasked.secret)).rejects.toMatchObject(away);
      fixture.advance(2 * 60_000);
      await expect(authenticate(fixture, key.secret)).rejects.toMatchObject(away);
      fixture.mend();
      fixture.advance(10_000);
      expect(await authenticate(fixture, key.secret)).toMatchObject({ subject: caller.subject });
      expect(await authenticate(fixture, unasked.secret)).toMatchObject({ subject: caller.subject });
    }));

  test("a log that was trimmed meanwhile is followed again; what its loss may hide is verified again", () =>
    withFixture(async (fixture) => {
      const { next } = revocationsOf(fixture);
      fixture.client.start();
      const token = await fixture.logIn("ada");
      const [lost, kept] = [await fixture.createApiKey(token), await fixture.createApiKey(token)];
      await fixture.logOut(await fixture.logIn("bob"));
      await next();
      const callers = [await authenticate(fixture, lost.secret), await authenticate(fixture, kept.secret)];
      fixture.cut();
      await fixture.revokeApiKey(token, lost.id);
      fixture.advance(WEEK_MS + 60_000);
      await fixture.trim();
      fixture.mend();
      // Streams of both end: nobody can say which of them was revoked.
      expect(callers.map(await next())).toEqual([true, true]);
      await expect(authenticate(fixture, lost.secret)).rejects.toMatchObject(unauthenticated);
      const again = await authenticate(fixture, kept.secret);
      await fixture.disable("ada");
      const isConcerned = await next();
      expect(isConcerned(again)).toBe(true);
      await expect(authenticate(fixture, kept.secret)).rejects.toMatchObject(unauthenticated);
    }));
}
