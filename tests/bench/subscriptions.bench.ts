/**
 * Many subscriptions on one gateway: `node tests/bench/subscriptions.bench.ts [--subscribers=100,1000,10000] [--readers=100 --slow=20
 * --rate=1000 --seconds=60 --restarts=2] [--bytes=2048 --queue=1000 --grace=2000]`.
 *
 * First memory for each subscriber and how one event reaches all of them; then a stream of events through readers of which some do
 * not read, while the gateway is restarted: the others must get each event once, in order, and the slow ones the error with the last
 * sequence. The gateway, its clients and this script are processes of their own. Fails when what must hold does not.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { anonymous, newId } from "@toolyard/service-kit";
import { composeFixture } from "@toolyard/gateway/execution/fixtures/compose.ts";
import { createExecutor } from "@toolyard/gateway/execution/executor.ts";
import { createInProcessClient } from "@toolyard/gateway/execution/in-process-client.ts";
import { createHivePlanner } from "@toolyard/gateway/execution/hive-planner.ts";
import { createLocalPlanner } from "@toolyard/gateway/execution/local-planner.ts";
import { logPositionOf } from "@toolyard/gateway/subscriptions/log-position.ts";
import { createSubscriptionProtocols } from "@toolyard/gateway/subscriptions/protocols.ts";
import { createSharedUpstreams } from "@toolyard/gateway/subscriptions/shared-upstreams.ts";
import { createSubscriptionEngine } from "@toolyard/gateway/subscriptions/subscription-engine.ts";
import { WebSocket } from "ws";

const { values: flags } = parseArgs({
  strict: false,
  options: {
    subscribers: { type: "string", default: "100,1000,10000" },
    readers: { type: "string", default: "100" },
    slow: { type: "string", default: "20" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "60" },
    restarts: { type: "string", default: "2" },
    bytes: { type: "string", default: "2048" },
    queue: { type: "string", default: "1000" },
    grace: { type: "string", default: "2000" },
    role: { type: "string", default: "" },
    port: { type: "string", default: "0" },
  },
});
const text = (name: string): string => String(flags[name]);
const number = (name: string): number => Number(flags[name]);
const now = () => performance.timeOrigin + performance.now();

// ---- the gateway ------------------------------------------------------------------------------------------------------------

interface Event {
  changed: { sequence: string; at: number; ballast: string };
}

/**
 * A log whose event n happens at a time that is known before, so that it outlives the process that reads it. Before `begin`: none.
 */
function createClockLog(bytes: number) {
  const ballast = "x".repeat(bytes);
  let clock: { beganAt: number; rate: number; count: number } | null = null;
  const begun = new Set<() => void>();
  const happened = () =>
    clock ? Math.min(clock.count, Math.floor(((now() - clock.beganAt) / 1_000) * clock.rate)) : 0;
  return {
    begin(next: NonNullable<typeof clock>) {
      clock = next;
      for (const wake of begun) wake();
    },
    async *changes(after: string | undefined, signal: AbortSignal): AsyncGenerator<Event> {
      let position = after === undefined ? happened() : Number(after);
      while (!signal.aborted) {
        while (position < happened()) {
          position++;
          const { beganAt, rate } = clock ?? { beganAt: 0, rate: 1 };
          yield { changed: { sequence: String(position), at: beganAt + (position / rate) * 1_000, ballast } };
        }
        if (clock && position >= clock.count) return;
        if (clock) await delay(Math.max(1, clock.beganAt + ((position + 1) / clock.rate) * 1_000 - now()));
        else
          await new Promise<void>((resolve) => {
            begun.add(resolve);
            signal.addEventListener("abort", () => resolve(), { once: true });
          });
      }
    },
  };
}

const typeDefs = `
  type Query { ok: Boolean }
  type Change { sequence: String! at: Float! ballast: String! }
  type Subscription { changed(after: String): Change! }
`;

async function runGateway(): Promise<void> {
  const log = createClockLog(number("bytes"));
  const { supergraphSdl, schemas } = composeFixture({
    changes: {
      typeDefs,
      resolvers: {
        Subscription: {
          changed: {
            subscribe(_: unknown, { after }: { after?: string }) {
              const ended = new AbortController();
              const events = log.changes(after, ended.signal);
              const stream = {
                next: () => events.next(),
                return: () => {
                  ended.abort();
                  return events.return(undefined);
                },
                [Symbol.asyncIterator]: () => stream,
              };
              return stream;
            },
          },
        },
      },
    },
  });
  const executor = createExecutor({
    supergraphSdl,
    planner: createLocalPlanner(createHivePlanner({ supergraphSdl })),
    clients: [...schemas].map(([name, schema]) =>
      createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
    ),
  });
  const shared = createSharedUpstreams({
    open: (request) => executor.subscribe(request),
    positionOf(request) {
      const inspected = executor.inspect(request);
      return "errors" in inspected ? null : logPositionOf(inspected, request);
    },
  });
  const engine = createSubscriptionEngine({
    executor: shared,
    maxQueuedEvents: number("queue"),
    slowConsumerGraceMs: number("grace"),
  });
  const protocols = createSubscriptionProtocols({
    executor: { ...executor, subscribe: shared.subscribe },
    engine,
    authenticate: async () => anonymous,
    contextOf: (caller) => ({ caller, requestId: newId() }),
    log: {
      error: (...said: unknown[]) => process.stderr.write(`${said.map(String).join(" ")}\n`),
      debug: () => undefined,
    },
  });
  const server = createServer();
  server.on("upgrade", (request, socket, head) => protocols.handleUpgrade(request, socket, head));
  await once(server.listen(number("port"), "127.0.0.1", 10_000), "listening");
  process.on("message", (message: { begin?: Parameters<typeof log.begin>[0]; stop?: true }) => {
    if (message.begin) log.begin(message.begin);
    else if (message.stop) void protocols.close().then(() => process.exit(0));
    else {
      globalThis.gc?.();
      const { rss, heapUsed, external } = process.memoryUsage();
      const { user, system } = process.cpuUsage();
      process.send?.({
        rss,
        heap: heapUsed + external,
        cpuMs: (user + system) / 1_000,
        upstreams: shared.openUpstreams,
        active: engine.activeStreams,
        dropped: engine.droppedEvents,
      });
    }
  });
  // `listen` on a TCP port answers an AddressInfo.
  process.send?.({ port: (server.address() as AddressInfo).port });
}

// ---- its clients ------------------------------------------------------------------------------------------------------------

interface Reader {
  isSlow: boolean;
  last: number;
  received: number;
  reconnects: number;
  /** What was not the next event. */
  wrong: string | null;
  end: "open" | "complete" | { code: string; lastSequence: string | null };
  socket: WebSocket | null;
}

const QUERY = "subscription ($after: String) { changed(after: $after) { sequence at ballast } }";

async function runClients(): Promise<void> {
  const url = `ws://127.0.0.1:${number("port")}/graphql`;
  const readers: Reader[] = [];
  let latencies: number[] = [];

  async function open(reader: Reader): Promise<void> {
    const socket = new WebSocket(url, "graphql-transport-ws", { perMessageDeflate: false });
    reader.socket = socket;
    const acknowledged = new Promise<void>((resolve, reject) => {
      socket.on("message", (data: Buffer) => {
        const message = data.toString("latin1");
        if (message.startsWith('{"type":"connection_ack"')) {
          const variables = reader.last > 0 ? { after: String(reader.last) } : {};
          socket.send(JSON.stringify({ id: "1", type: "subscribe", payload: { query: QUERY, variables } }));
          resolve();
        } else take(reader, message);
      });
      socket.on("error", reject);
      socket.once("open", () => socket.send('{"type":"connection_init"}'));
      socket.once("close", () => reject(new Error("The socket was closed.")));
    });
    await acknowledged;
    socket.once("close", () => {
      if (reader.end === "open") void reopen(reader);
    });
  }

  async function reopen(reader: Reader): Promise<void> {
    reader.reconnects++;
    while (reader.end === "open") {
      await delay(50 + Math.random() * 100);
      try {
        await open(reader);
        return;
      } catch {
        continue; // not back yet
      }
    }
  }

  function take(reader: Reader, message: string): void {
    const found = /"sequence":"(\d+)","at":([\d.]+)/.exec(message);
    if (found) {
      const sequence = Number(found[1]);
      if (sequence !== reader.last + 1 && reader.last > 0) reader.wrong ??= `${sequence} after ${reader.last}`;
      reader.last = sequence;
      reader.received++;
      if (!reader.isSlow) latencies.push(now() - Number(found[2]));
      if (reader.isSlow && reader.received === 1) reader.socket?.pause();
      return;
    }
    const error = /"code":"(\w+)","lastSequence":(?:"(\d+)"|null)/.exec(message);
    if (error) reader.end = { code: error[1] ?? "", lastSequence: error[2] ?? null };
    else if (message.includes('"type":"complete"') && reader.end === "open") reader.end = "complete";
  }

  process.on("message", (message: { open?: number; slow?: number; resume?: true }) => {
    void (async () => {
      if (message.open !== undefined) {
        const fresh = Array.from({ length: message.open }, (_, index): Reader => {
          const isSlow = index < (message.slow ?? 0);
          return { isSlow, last: 0, received: 0, reconnects: 0, wrong: null, end: "open", socket: null };
        });
        readers.push(...fresh);
        for (let at = 0; at < fresh.length; at += 50) await Promise.all(fresh.slice(at, at + 50).map(open));
        process.send?.({ opened: readers.length });
      } else if (message.resume) {
        for (const { socket } of readers) socket?.resume();
      } else {
        const sorted = latencies.sort((one, other) => one - other);
        latencies = [];
        process.send?.({
          latencies: { count: sorted.length, p50: at(sorted, 0.5), p99: at(sorted, 0.99), max: sorted.at(-1) ?? 0 },
          readers: readers.map((reader) => ({ ...reader, socket: null })),
        });
      }
    })();
  });
  process.send?.({ ready: true });
}

function at(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

// ---- the measurements -------------------------------------------------------------------------------------------------------

interface Measured {
  rss: number;
  heap: number;
  cpuMs: number;
  upstreams: number;
  active: number;
  dropped: number;
}
interface Report {
  latencies: { count: number; p50: number; p99: number; max: number };
  readers: Reader[];
}

function start(role: "gateway" | "clients", port: number) {
  const args = [
    `--role=${role}`,
    `--port=${port}`,
    ...["bytes", "queue", "grace"].map((name) => `--${name}=${text(name)}`),
  ];
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), args, { execArgv: ["--expose-gc"] });
  const next = async <Message>(): Promise<Message> => {
    const [message] = (await once(child, "message")) as [Message]; // sent by the roles of this file
    return message;
  };
  return {
    child,
    next,
    ask<Answer>(message: object): Promise<Answer> {
      const answer = next<Answer>();
      child.send(message);
      return answer;
    },
    tell: (message: object) => void child.send(message),
    async stop() {
      const exited = once(child, "exit");
      if (role === "gateway") child.send({ stop: true });
      else child.kill();
      await exited;
    },
  };
}

async function measureFanOut(subscribers: number): Promise<void> {
  const gateway = start("gateway", 0);
  const { port } = await gateway.next<{ port: number }>();
  const clients = start("clients", port);
  await clients.next();
  await clients.ask({ open: 20 });
  const before = await gateway.ask<Measured>({});
  await clients.ask({ open: subscribers - 20 });
  const deadline = Date.now() + 30_000;
  let after = await gateway.ask<Measured>({});
  while (after.active < subscribers && Date.now() < deadline) {
    await delay(100);
    after = await gateway.ask<Measured>({});
  }
  const each = (bytes: number) => `${(bytes / (subscribers - 20) / 1_024).toFixed(1)} KiB`;
  // One event to warm up, then ten, half a second apart.
  gateway.tell({ begin: { beganAt: now(), rate: 2, count: 11 } });
  await delay(900);
  await clients.ask<Report>({});
  await delay(5_500);
  const { latencies, readers } = await clients.ask<Report>({});
  const missed = readers.filter(({ received, wrong }) => received !== 11 || wrong !== null).length;
  print(
    `${String(subscribers).padStart(6)} subscribers: ${each(after.heap - before.heap)} heap, ${each(after.rss - before.rss)} RSS each; ` +
      `${after.upstreams} upstream(s); one event to all: p50 ${latencies.p50.toFixed(1)} ms, p99 ${latencies.p99.toFixed(1)} ms, max ${latencies.max.toFixed(1)} ms`,
  );
  await clients.stop();
  await gateway.stop();
  if (missed > 0) fail(`${missed} of ${subscribers} subscribers did not get each event once in order.`);
}

async function measureStream(): Promise<void> {
  const [readers, slow, rate, seconds, restarts] = ["readers", "slow", "rate", "seconds", "restarts"].map(number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const clock = { beganAt: now() + 1_000, rate, count: rate * seconds };
  let gateway = start("gateway", 0);
  const { port } = await gateway.next<{ port: number }>();
  const clients = start("clients", port);
  await clients.next();
  await clients.ask({ open: readers, slow });
  clock.beganAt = now() + 1_000;
  gateway.tell({ begin: clock });
  let dropped = 0;
  let cpuMs = 0;
  const stopAndCount = async () => {
    const measured = await gateway.ask<Measured>({});
    dropped += measured.dropped;
    cpuMs += measured.cpuMs;
    await gateway.stop();
  };
  // The slow ones overflow before the first restart: they would be as quick as the others after it.
  for (let restart = 1; restart <= restarts; restart++) {
    await delay((seconds * 1_000) / (restarts + 1) + 1_000);
    if (restart === 1) clients.tell({ resume: true });
    await delay(500);
    await stopAndCount();
    gateway = start("gateway", port);
    await gateway.next();
    gateway.tell({ begin: clock });
  }
  await delay(Math.max(0, clock.beganAt + seconds * 1_000 - now()));
  clients.tell({ resume: true });
  const deadline = Date.now() + 120_000;
  let report = await clients.ask<Report>({});
  let { latencies } = report;
  while (report.readers.some(({ end }) => end === "open") && Date.now() < deadline) {
    await delay(500);
    report = await clients.ask<Report>({});
    if (report.latencies.count > latencies.count) latencies = report.latencies;
  }
  await stopAndCount();
  await clients.stop();
  const fast = report.readers.filter(({ isSlow }) => !isSlow);
  const late = report.readers.filter(({ isSlow }) => isSlow);
  const whole = fast.filter(
    ({ received, wrong, end }) => received === clock.count && wrong === null && end === "complete",
  );
  const overflown = late.filter(
    ({ end, last, wrong }) =>
      typeof end === "object" && end.code === "SLOW_CONSUMER" && end.lastSequence === String(last) && wrong === null,
  );
  print(
    `${rate} events/s of ${number("bytes")} bytes for ${seconds} s, ${restarts} restart(s): ${whole.length} of ${fast.length} readers got all ${clock.count} once in order ` +
      `(${fast.reduce((sum, { reconnects }) => sum + reconnects, 0)} reconnects); ${overflown.length} of ${late.length} slow ones got SLOW_CONSUMER with the last sequence they were sent; ` +
      `${dropped} events dropped for them; latency p50 ${latencies.p50.toFixed(1)} ms, p99 ${latencies.p99.toFixed(1)} ms; gateway's CPU ${(cpuMs / 1_000).toFixed(1)} s`,
  );
  if (whole.length < fast.length) fail(JSON.stringify(fast.find((reader) => !whole.includes(reader))));
  if (overflown.length < late.length) fail(JSON.stringify(late.find((reader) => !overflown.includes(reader))));
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function fail(what: string): void {
  process.exitCode = 1;
  process.stderr.write(`FAILED: ${what}\n`);
}

if (flags["role"] === "gateway") await runGateway();
else if (flags["role"] === "clients") await runClients();
else {
  for (const subscribers of text("subscribers").split(",").filter(Boolean)) await measureFanOut(Number(subscribers));
  if (number("seconds") > 0) await measureStream();
}
