import { afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Composed } from "../execution/fixtures/compose.ts";
import type { ShopEvent } from "../execution/fixtures/shop.ts";
import { createChangeLog, type ChangeLog } from "./fixtures/change-log.ts";
import {
  composeContractShop,
  startContractServer,
  type ContractServer,
  type ContractServerOptions,
} from "./fixtures/contract-server.ts";
import {
  StreamEnd,
  type ClientResult,
  type ClientStream,
  type ProtocolClient,
  type ProtocolDriver,
} from "./fixtures/protocol-client.ts";

const WATCH = `subscription Watch($after: String) {
  changed: productChanged(after: $after) { sequence product { name reviews { author { name } } } }
}`;
const WATCH_PLAINLY = "subscription ($after: String) { changed: productChanged(after: $after) { sequence } }";

/** The contract that every protocol of subscriptions keeps. */
export function describeProtocol(driver: ProtocolDriver): void {
  let composed: Composed;
  beforeAll(() => {
    composed = composeContractShop();
  });
  const cleanups: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function serve(options: Partial<ContractServerOptions> & { log?: ChangeLog } = {}) {
    const { log = createChangeLog(), ...rest } = options;
    const server = await startContractServer({ composed, changes: log.changes, heartbeatMs: 250, ...rest });
    let isClosed = false;
    const close = async () => {
      if (isClosed) return;
      isClosed = true;
      await server.close();
    };
    cleanups.push(close);
    return { log, server: { ...server, close } };
  }

  function connect(server: ContractServer, authorization: string | undefined = "Bearer user:u1"): ProtocolClient {
    const client = driver.connect(server.origin, authorization);
    cleanups.push(() => client.vanish());
    return client;
  }

  const released = ({ engine, protocols }: ContractServer, log: ChangeLog) =>
    expect.poll(() => [log.open, engine.activeStreams, protocols.openStreams]).toEqual([0, 0, 0]);

  describe(driver.name, () => {
    test("events come in order, each completed from the other subgraphs, and then the end", async () => {
      const { log, server } = await serve();
      log.append(40);
      log.finish();
      const results = await all(connect(server).start(WATCH, { after: "0" }));
      expect(results[0]).toEqual({
        data: { changed: { sequence: "1", product: { name: "Couch", reviews: [{ author: { name: "Ada" } }] } } },
      });
      expect(sequencesOf(results)).toEqual(upTo(40));
      await expect.poll(() => server.engine.activeStreams).toBe(0);
    });

    test("events come as they happen", async () => {
      const { log, server } = await serve();
      const stream = connect(server).start(WATCH_PLAINLY);
      await expect.poll(() => log.open).toBe(1);
      for (const sequence of upTo(3)) {
        log.append();
        expect(await stream.next()).toEqual({ data: { changed: { sequence } } });
      }
    });

    test("a bad credential is refused, and so is none", async () => {
      const { log, server } = await serve();
      for (const authorization of ["Bearer bad", undefined]) {
        const client = driver.connect(server.origin, authorization);
        cleanups.push(() => client.vanish());
        await expect(client.start(WATCH).next()).rejects.toMatchObject({
          how: "refused",
          message: expect.stringContaining("This token is not valid."),
        });
      }
      expect(log.opened).toBe(0);
    });

    test("many streams of one client do not mix", async () => {
      const { log, server } = await serve();
      log.append(30);
      log.finish();
      const client = connect(server);
      const streams = upTo(20).map((after) => client.start(WATCH_PLAINLY, { after }));
      for (const [index, results] of (await Promise.all(streams.map(all))).entries()) {
        expect(sequencesOf(results)).toEqual(upTo(30).slice(index + 1));
      }
    });

    test("what a client no longer wants is released in the subgraph, its other streams go on", async () => {
      const { log, server } = await serve();
      const client = connect(server);
      const kept = client.start(WATCH_PLAINLY, { after: "0" });
      const cancelled = client.start(WATCH_PLAINLY, { after: "0" });
      log.append();
      await Promise.all([kept.next(), cancelled.next()]);
      await cancelled.cancel();
      log.append();
      expect(sequenceOf(await kept.next())).toBe("2");
      await expect.poll(() => [log.open, server.engine.activeStreams]).toEqual([1, 1]);
    });

    test("a client that vanishes releases everything", async () => {
      const { log, server } = await serve();
      const client = connect(server);
      const streams = [1, 2, 3].map(() => client.start(WATCH_PLAINLY, { after: "0" }));
      log.append();
      await Promise.all(streams.map((stream) => stream.next()));
      await client.vanish();
      log.append();
      await released(server, log);
    });

    test("after a restart of the server a client goes on with `after` and misses nothing", async () => {
      const { log, server } = await serve();
      const stream = connect(server).start(WATCH_PLAINLY, { after: "0" });
      log.append(5);
      const seen: string[] = [];
      while (seen.length < 3) seen.push(sequenceOf(await stream.next()) ?? "");
      await server.close();
      await expect(untilEnd(stream, seen)).rejects.toMatchObject({ how: "lost" });
      expect(log.open).toBe(0);
      log.append(5);
      log.finish();
      const { server: next } = await serve({ log, port: server.port });
      const rest = await all(connect(next).start(WATCH_PLAINLY, { after: seen.at(-1) }));
      expect([...seen, ...sequencesOf(rest)]).toEqual(upTo(10));
    });

    test("a client that does not read gets an error with the last sequence it was sent", async () => {
      const log = createChangeLog({ ballast: 60_000 });
      const { server } = await serve({ log, maxQueuedEvents: 4, slowConsumerGraceMs: 50 });
      const client = connect(server);
      const stream = client.start(WATCH_PLAINLY, { after: "0" });
      log.append();
      const received = [sequenceOf(await stream.next())];
      client.pause();
      log.append(1_000_000);
      await expect.poll(() => server.engine.droppedEvents).toBeGreaterThan(0);
      client.resume();
      let last: ClientResult | null = null;
      for (let result = await stream.next(); result !== null; result = await stream.next()) {
        last = result;
        if (result.data) received.push(sequenceOf(result));
      }
      expect(received.map((sequence) => Number.parseInt(sequence ?? "", 10))).toEqual(
        received.map((_, index) => index + 1),
      );
      expect(last?.errors?.[0]?.extensions).toEqual({ code: "SLOW_CONSUMER", lastSequence: received.at(-1) });
      await expect.poll(() => [server.engine.activeStreams, log.open]).toEqual([0, 0]);
    }, 30_000);

    test("a stream ends when the credential expires", async () => {
      const { log, server } = await serve();
      const stream = connect(server, "Bearer expiring:600").start(WATCH_PLAINLY);
      await expect(stream.next()).rejects.toMatchObject({
        how: "refused",
        message: expect.stringContaining("expired"),
      });
      await released(server, log);
    });

    test("a revoked caller's streams end, others go on", async () => {
      const { log, server } = await serve();
      const gone = connect(server, "Bearer user:gone").start(WATCH_PLAINLY, { after: "0" });
      const kept = connect(server, "Bearer user:kept").start(WATCH_PLAINLY, { after: "0" });
      log.append();
      await Promise.all([gone.next(), kept.next()]);
      server.protocols.endWhere(({ userId }) => userId === "gone", "This credential was revoked.");
      await expect(gone.next()).rejects.toMatchObject({
        how: "refused",
        message: expect.stringContaining("This credential was revoked."),
      });
      log.append();
      expect(sequenceOf(await kept.next())).toBe("2");
      await expect.poll(() => log.open).toBe(1);
    });

    test("an event with an error says which field failed, and the stream goes on", async () => {
      const { log, server } = await serve();
      log.append(2);
      log.finish();
      const results = await all(
        connect(server).start(
          `subscription { changed: productChanged(after: "0") { sequence product { name shippingEstimate averageLength } } }`,
        ),
      );
      expect(results).toHaveLength(2);
      expect(results[1]).toMatchObject({
        data: null,
        errors: [{ path: ["changed", "product", "averageLength"], extensions: { service: "reviews" } }],
      });
    });

    test("a stream that breaks in the subgraph ends with an error, not in silence", async () => {
      async function* broken(): AsyncGenerator<ShopEvent> {
        yield { productChanged: { sequence: "1", product: { upc: "1" } } };
        throw new Error("disk on fire");
      }
      const { server } = await serve({ changes: broken });
      const results = await all(connect(server).start(WATCH_PLAINLY));
      expect(sequenceOf(results[0] ?? null)).toBe("1");
      expect(results[1]).toMatchObject({
        errors: [{ message: expect.stringMatching(/"products" broke/), extensions: { code: "UPSTREAM_UNAVAILABLE" } }],
      });
      expect(JSON.stringify(results)).not.toContain("disk on fire");
    });

    test("an invalid operation is refused, and what is for services only is unknown to others", async () => {
      const { log, server } = await serve();
      const client = connect(server);
      for (const query of ["subscription { nope }", "subscription { secretChanged { token } }", "subscription {"]) {
        const results = await all(client.start(query));
        expect(results).toEqual([
          {
            errors: [
              expect.objectContaining({
                extensions: { code: expect.stringMatching(/^GRAPHQL_(PARSE|VALIDATION)_FAILED$/) },
              }),
            ],
          },
        ]);
      }
      if (!driver.sharesConnection) return;
      log.append();
      expect(sequenceOf(await client.start(WATCH_PLAINLY, { after: "0" }).next())).toBe("1");
    });

    test.runIf(driver.runsQueries)("queries and mutations run over it as well", async () => {
      const { server } = await serve();
      const client = connect(server);
      expect(await all(client.start("{ me { name } }"))).toEqual([{ data: { me: { name: "Ada" } } }]);
      expect(await all(client.start(`mutation { rename(upc: "1", name: "Desk") { name price } }`))).toEqual([
        { data: { rename: { name: "Desk", price: 899 } } },
      ]);
      expect(await all(client.start("{ broken me { name } }"))).toMatchObject([
        { data: { broken: null, me: { name: "Ada" } }, errors: [{ path: ["broken"] }] },
      ]);
    });

    test("a stopping server ends what is open at once and says that it was not all", async () => {
      const { log, server } = await serve();
      const client = connect(server);
      const stream = client.start(WATCH_PLAINLY, { after: "0" });
      log.append();
      await stream.next();
      const [ending] = await Promise.all([stream.next().catch((error: unknown) => error), server.close()]);
      expect(ending).toBeInstanceOf(StreamEnd);
      expect(ending).toMatchObject({ how: "lost" });
      await released(server, log);
    });

    test("a silent stream is kept alive by heartbeats", async () => {
      const { log, server } = await serve({ heartbeatMs: 100 });
      const client = connect(server);
      const stream = client.start(WATCH_PLAINLY, { after: "0" });
      await expect.poll(() => client.beats).toBeGreaterThanOrEqual(3);
      log.append();
      expect(sequenceOf(await stream.next())).toBe("1");
    });
  });
}

async function all(stream: ClientStream): Promise<ClientResult[]> {
  const results: ClientResult[] = [];
  for (let result = await stream.next(); result !== null; result = await stream.next()) results.push(result);
  return results;
}

/** Drains the remaining results. */
async function untilEnd(stream: ClientStream, seen: string[]): Promise<void> {
  for (let result = await stream.next(); result !== null; result = await stream.next())
    seen.push(sequenceOf(result) ?? "");
}

const sequenceOf = (result: ClientResult | null) => result?.data?.changed?.sequence;
const sequencesOf = (results: readonly ClientResult[]) => results.map(sequenceOf);
const upTo = (last: number) => Array.from({ length: last }, (_, index) => String(index + 1));
