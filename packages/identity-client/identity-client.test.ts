import {
  ToolyardError,
  createLogger,
  createServiceCaller,
  createTokenVerifier,
  createUserCaller,
  type GraphClient,
} from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createIdentityClient, type IdentityClient } from "./identity-client.ts";

const revoked = (sequence: string) => ({
  credentialsRevoked: { sequence, at: new Date().toISOString(), tokenId: null, apiKeyId: "k1", userId: null },
});
const emptyLog = { revocationLog: { oldestSequence: "0", latestSequence: "0" } };
const outsideOfLog = (extensions: Record<string, string>) =>
  new ToolyardError("BAD_USER_INPUT", "That place is not in the log.", { extensions });

const breaking = (error: Error): AsyncIterable<unknown> => ({
  [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
});

/** Follows a log of which each stream is given; the last one stands open until the end. @returns where each began, and who was concerned */
async function follow(streams: (() => AsyncIterable<unknown>)[]) {
  const asked: unknown[] = [];
  const all = Promise.withResolvers<void>();
  const graph: Pick<GraphClient, "subscribe"> = {
    async *subscribe<Data>({ variables, signal }: Parameters<GraphClient["subscribe"]>[0]) {
      asked.push(variables?.["after"]);
      const stream = streams[asked.length - 1];
      // The test wrote what is selected.
      if (stream) yield* stream() as AsyncIterable<Data>;
      if (stream) return;
      all.resolve();
      await new Promise((resolve) => signal?.addEventListener("abort", resolve, { once: true }));
    },
  };
  const client: IdentityClient = createIdentityClient({
    graph: { ...graph, query: async <Data>() => emptyLog as Data },
    as: createServiceCaller("verifier", []),
    verifier: createTokenVerifier({ keys: { secretKeys: ["s".repeat(40)] } }),
    logger: createLogger({ level: "silent", name: "test" }),
  });
  const user = createUserCaller("u1", "VIEWER");
  const service = createServiceCaller("x", []);
  const concerned: boolean[][] = [];
  client.onRevoked((isConcerned) => concerned.push([user, service].map(isConcerned)));
  client.start();
  await all.promise;
  await client.close();
  return { asked, concerned };
}

test.each([{ oldestSequence: "7" }, { latestSequence: "3" }])(
  "a log that lost the place (%j) is followed from its beginning, and every user's credential is verified again",
  async (extensions) => {
    const { asked, concerned } = await follow([
      async function* () {
        yield revoked("5");
      },
      () => breaking(outsideOfLog(extensions)),
      async function* () {
        yield revoked("8");
      },
    ]);
    expect(asked).toEqual(["0", "5", "0", "8"]);
    expect(concerned).toEqual([
      [false, false],
      [true, false],
      [false, false],
    ]);
  },
);

test("other errors go on from the last revocation that could be read", async () => {
  const { asked, concerned } = await follow([
    async function* () {
      yield revoked("5");
      yield { credentialsRevoked: { sequence: "6", at: "not a time" } };
    },
    () => breaking(new ToolyardError("RATE_LIMITED", "Too slow.", { extensions: { lastSequence: "3" } })),
  ]);
  expect(asked).toEqual(["0", "5", "5"]);
  expect(concerned).toEqual([[false, false]]);
});
