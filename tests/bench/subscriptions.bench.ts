/**
 * Many subscriptions on one gateway, which runs as its users start it: `node tests/bench/subscriptions.bench.ts`.
 *
 * First memory for each subscriber and how one event reaches all of them (`--subscribers=100,1000,10000`, each by `--ways=…`); then a
 * minute of events through readers of which some do not read, while the gateway is stopped and started again and once killed: the
 * others must get each event once, in order, and the slow ones the error with the last sequence, after which they go on
 * (`--graphs=foreign,own --readers=100 --slow=20 --rate=1000 --seconds=60`). `--profile=FOLDER` writes the gateway's CPU profiles and
 * heap snapshots. The gateway, its subgraphs and its clients are processes of their own. Fails when what must hold does not.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startForeignGraph, startOwnGraph, type Callers } from "./subscriptions/graphs.ts";
import { now, type ClientReport, type Latencies, type Reader } from "./subscriptions/messages.ts";
import { startPeer, type Peer } from "./subscriptions/processes.ts";
import type { Opening } from "./subscriptions/subscribers.ts";

const { values: flags } = parseArgs({
  options: {
    subscribers: { type: "string", default: "100,1000,10000" },
    ways: { type: "string", default: "one,tokens,headers,sse,fetch" },
    graphs: { type: "string", default: "foreign,own" },
    readers: { type: "string", default: "100" },
    slow: { type: "string", default: "20" },
    rate: { type: "string", default: "1000" },
    seconds: { type: "string", default: "60" },
    bytes: { type: "string", default: "2048" },
    profile: { type: "string", default: "" },
  },
});
const listOf = (text: string) => text.split(",").filter(Boolean);

/** How subscribers come: who they are, by what protocol, and whether something is fetched for each event. */
const ways: Record<string, { callers: Callers; protocol: "ws" | "sse"; withFetch?: boolean; says: string }> = {
  one: { callers: "one", protocol: "ws", says: "one caller, WebSocket" },
  tokens: { callers: "tokens", protocol: "ws", says: "each a caller with a token, WebSocket" },
  headers: { callers: "headers", protocol: "ws", says: "each a caller whom the subgraph is told, WebSocket" },
  sse: { callers: "one", protocol: "sse", says: "one caller, server-sent events" },
  fetch: { callers: "one", protocol: "ws", withFetch: true, says: "one caller, WebSocket, a fetch for each event" },
};
/** Sockets to the gateway and from it to the subgraph, where each caller has one of both. */
const mostWithTwoSockets = 9_900;
/** The first warms up, the last, with which all streams end, is not measured. */
const events = 12;

async function measureFanOut(way: string, asked: number): Promise<void> {
  const { callers, protocol, withFetch = false, says } = ways[way] ?? fail(`There is no way "${way}".`);
  const subscribers = callers === "headers" ? Math.min(asked, mostWithTwoSockets) : asked;
  const graph = await startForeignGraph({ bytes: 0, callers, withFetch });
  const clients = await startPeer("subscribers.ts", []);
  const { url, query } = graph;
  const headers = await graph.headersOf(subscribers);
  const first = 20;
  const open = async (opening: Partial<Opening> & { count: number }) => {
    await clients.ask({ open: { url, protocol, query, headers, ...opening } satisfies Opening });
  };
  await open({ count: first });
  await waitUntil(async () => (await graph.metric("subscriptions_active")) === first, "the first subscriptions");
  const before = await graph.usage({ collect: true });
  const openedAt = now();
  await open({ count: subscribers - first, headers: callers === "one" ? headers : headers.slice(first) });
  await waitUntil(async () => (await graph.metric("subscriptions_active")) === subscribers, "all subscriptions");
  const openingMs = now() - openedAt;
  // Streams from the subgraph are opened a little later.
  for (let streams = -1; streams !== (await graph.upstream())?.streams; await delay(300)) {
    streams = (await graph.upstream())?.streams ?? 0;
    await delay(300);
  }
  const after = await graph.usage({ collect: true });
  const upstream = await graph.upstream();
  if (flags.profile) await graph.usage({ snapshot: join(flags.profile, `${way}-${subscribers}.heapsnapshot`) });
  // One event to warm up, then ten, further apart than it takes to reach all.
  const everyMs = Math.max(500, subscribers * 0.3);
  await graph.begin({ beganAt: now(), rate: 1_000 / everyMs, count: events });
  await delay(1.9 * everyMs);
  await clients.ask<ClientReport>({});
  if (flags.profile) await graph.usage({ profile: "start" });
  const cpuBefore = await graph.usage();
  const reports: ClientReport[] = [];
  const haveReceived = async (count: number) => {
    const deadline = Date.now() + 60_000;
    do {
      await delay(100);
      reports.push(await clients.ask<ClientReport>({}));
    } while (
      reports
        .at(-1)
        ?.readers.some(({ received, isComplete }) => received < count || isComplete !== (count === events)) &&
      Date.now() < deadline
    );
  };
  await delay((events - 2) * everyMs - 500);
  await haveReceived(events - 1);
  const cpuAfter = await graph.usage(
    flags.profile ? { profile: { file: join(flags.profile, `${way}-${subscribers}.cpuprofile`) } } : {},
  );
  const latencies = reports.map(({ all }) => all).reduce((most, one) => (one.count > most.count ? one : most));
  const afterEvents = await graph.usage({ collect: true });
  const counts = await graph.upstream();
  await haveReceived(events);
  const readers = reports.at(-1)?.readers ?? [];
  const each = (from: number, to: number) => `${((to - from) / (subscribers - first) / 1_024).toFixed(1)}`.padStart(5);
  print(
    `${String(subscribers).padStart(6)} | ${each(before.heap, after.heap)} | ${each(before.rss, after.rss)} | ${each(before.rss, afterEvents.rss)} | ` +
      `${String(upstream?.streams).padStart(6)} | ${ms(latencies)} | ${((cpuAfter.cpuMs - cpuBefore.cpuMs) / (events - 2)).toFixed(1).padStart(7)} | ` +
      `${(openingMs / subscribers).toFixed(2).padStart(5)}${withFetch ? ` | ${counts?.fetches} fetches` : ""}`,
  );
  const missed = readers.filter(
    ({ received, wrong, isComplete, first: begun }) =>
      received !== events || wrong !== null || !isComplete || begun !== 1,
  );
  await clients.stop();
  await graph.close();
  if (missed.length > 0)
    complain(`${missed.length} of ${subscribers} did not get each event once (${says}): ${JSON.stringify(missed[0])}`);
}

const ms = ({ p50, p99, max }: Latencies) => [p50, p99, max].map((value) => value.toFixed(1).padStart(7)).join(" | ");

async function measureMinute(name: string): Promise<void> {
  const [asked, readers, slow, rate, seconds] = (["bytes", "readers", "slow", "rate", "seconds"] as const).map((flag) =>
    Number(flags[flag]),
  ) as [number, number, number, number, number]; // as many as flags
  // Its events are small; they are made larger field by field, each of which the subgraph has to resolve.
  const bytes = name === "own" ? Math.min(asked, 512) : asked;
  const graph = await (name === "own" ? startOwnGraph : startForeignGraph)({ bytes, callers: "one" });
  // Slow ones catch up as fast as they can: not in the process in which the others' lag is measured.
  const [fastOnes, slowOnes] = [await startPeer("subscribers.ts", []), await startPeer("subscribers.ts", [])];
  const { url, query } = graph;
  const headers = await graph.headersOf(readers);
  const opening = { url, protocol: "ws" as const, query, headers };
  await fastOnes.ask({ open: { ...opening, count: readers - slow } satisfies Opening });
  await slowOnes.ask({ open: { ...opening, count: slow, slow } satisfies Opening });
  await waitUntil(async () => (await graph.metric("subscriptions_active")) === readers, "all subscriptions");
  const clock = { beganAt: now() + 500, rate, count: rate * seconds };
  let cpuMs = -(await graph.usage()).cpuMs;
  let maxRss = 0;
  let dropped = 0;
  const until = async (part: number) => {
    const end = clock.beganAt + seconds * 1_000 * part;
    while (now() < end) {
      await delay(Math.min(500, Math.max(1, end - now())));
      maxRss = Math.max(maxRss, (await graph.usage()).rss);
    }
  };
  const count = async () => {
    cpuMs += (await graph.usage()).cpuMs;
    dropped += await graph.metric("subscription_events_dropped_total");
  };
  const restart = async (signal: NodeJS.Signals) => {
    await count();
    const at = now();
    await graph.stopGateway(signal);
    await graph.startGateway();
    return now() - at;
  };
  await graph.begin(clock);
  if (flags.profile) {
    await until(0.1);
    await graph.usage({ profile: "start" });
    await until(0.3);
    await graph.usage({ profile: { file: join(flags.profile, `minute-${name}.cpuprofile`) } });
  }
  // The slow ones read nothing for longer than two heartbeats, then all at once.
  await until(0.55);
  const { live: steady } = await fastOnes.ask<ClientReport>({});
  await slowOnes.ask({ resume: true });
  await until(0.65);
  const terminated = await restart("SIGTERM");
  await until(0.8);
  const killed = await restart("SIGKILL");
  await until(1);
  const [report, fast] = await reportsOf(fastOnes, clock.count);
  const caughtUpMs = now() - clock.beganAt - seconds * 1_000;
  const [, late] = await reportsOf(slowOnes, clock.count);
  await count();
  await fastOnes.stop();
  await slowOnes.stop();
  await graph.close();
  const isWhole = ({ received, wrong, first, last }: Reader) =>
    received === clock.count && wrong === null && (last ?? 0) - (first ?? 0) + 1 === clock.count;
  const told = late.filter((reader) => reader.told > 0 && reader.lost === 0);
  print(
    `${name}: ${rate} events/s of ${bytes} bytes for ${seconds} s, ${readers} readers; gateway stopped (back after ${seconds_(terminated)}) and killed (${seconds_(killed)})\n` +
      `  ${fast.filter(isWhole).length} of ${fast.length} fast ones got all ${clock.count} once in order, with ${sum(fast.map(({ reconnects }) => reconnects))} reconnects and ${sum([...fast, ...late].map(({ broken }) => broken))} broken streams; ` +
      `${told.length} of ${late.length} slow ones got SLOW_CONSUMER with the last sequence they were sent, ${late.filter(isWhole).length} then all the rest\n` +
      `  lag until slow ones read again: p50 ${steady.p50.toFixed(1)} ms, p99 ${steady.p99.toFixed(1)} ms, max ${steady.max.toFixed(1)} ms; from then on, while connected: p50 ${report.live.p50.toFixed(1)} ms, p99 ${report.live.p99.toFixed(1)} ms; with what was missed: p99 ${report.all.p99.toFixed(0)} ms, max ${report.all.max.toFixed(0)} ms; ` +
      `the fast ones had everything ${caughtUpMs.toFixed(0)} ms after the end\n` +
      `  gateway: CPU ${seconds_(cpuMs)}, RSS ${(maxRss / 1_048_576).toFixed(0)} MiB at most; ${dropped} events dropped for slow ones`,
  );
  for (const reader of [...fast, ...late].filter((one) => !isWhole(one)).slice(0, 3)) complain(JSON.stringify(reader));
  if (told.length < late.length) complain(JSON.stringify(late.find((reader) => !told.includes(reader))));
}

/** What a process's readers got, once they have everything or a minute is over: the report with most latencies, and the readers. */
async function reportsOf(clients: Peer, count: number): Promise<[ClientReport, Reader[]]> {
  const deadline = Date.now() + 60_000;
  let most = await clients.ask<ClientReport>({});
  let { readers } = most;
  while (readers.some(({ received }) => received < count) && Date.now() < deadline) {
    await delay(200);
    const report = await clients.ask<ClientReport>({});
    if (report.all.count > most.all.count) most = report;
    ({ readers } = report);
  }
  return [most, readers];
}

const seconds_ = (milliseconds: number) => `${(milliseconds / 1_000).toFixed(1)} s`;
const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0);

async function waitUntil(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > deadline) fail(`Waited in vain for ${what}.`);
    await delay(50);
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function fail(what: string): never {
  throw new Error(what);
}

function complain(what: string): void {
  process.exitCode = 1;
  process.stderr.write(`FAILED: ${what}\n`);
}

for (const way of listOf(flags.subscribers).length > 0 ? listOf(flags.ways) : []) {
  print(`\n${ways[way]?.says}: one event to all`);
  print("  subs | heap  | RSS   | after | up-    | p50     | p99     | max     | CPU ms  | open");
  print("       | KiB   | each  | events| streams| ms      | ms      | ms      | /event  | ms each");
  for (const subscribers of listOf(flags.subscribers)) await measureFanOut(way, Number(subscribers));
}
for (const graph of Number(flags.seconds) > 0 ? listOf(flags.graphs) : []) await measureMinute(graph);
