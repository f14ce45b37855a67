/**
 * The clients of the benchmark: each a socket (or a connection of graphql-sse) with one subscription, that checks that events come in
 * order, connects again after its last one when it is cut off, and goes on after the sequence that it is told when it was too slow.
 */
import { Agent, request, type IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { WebSocket } from "ws";
import { now, type ClientReport, type Latencies, type Reader } from "./messages.ts";

export interface Opening {
  /** Of the gateway: its origin. */
  url: string;
  protocol: "ws" | "sse";
  /** `$after: String`; selects `sequence` and `at` first. */
  query: string;
  count: number;
  /** How many of them stop reading after their first event. */
  slow?: number;
  /** For each its own headers, the first for all when there is only one. */
  headers: Record<string, string>[];
  /** The sequence after which all begin; from now when left out. */
  after?: string;
}

interface Subscriber extends Reader {
  opening: Opening;
  headers: Record<string, string>;
  /** Of the operation that runs on the socket. */
  operation: number;
  isCatchingUp: boolean;
  isPaused: boolean;
  resume: () => void;
}

/** A message this late is one of those that a reader missed while it was cut off. */
const liveMs = 1_000;

const subscribers: Subscriber[] = [];
let latencies: number[] = [];
let live: number[] = [];
/** For connections of graphql-sse: one each. */
const agent = new Agent({ keepAlive: false, maxSockets: Infinity });

function variablesOf({ last, opening }: Subscriber): Record<string, string> {
  const after = last === null ? opening.after : String(last);
  return after === undefined ? {} : { after };
}

async function openSocket(subscriber: Subscriber): Promise<void> {
  const { opening, headers } = subscriber;
  const socket = new WebSocket(`${opening.url.replace("http", "ws")}/graphql`, "graphql-transport-ws", {
    perMessageDeflate: false,
    headers,
  });
  subscriber.resume = () => socket.resume();
  const subscribe = () => {
    const id = String(++subscriber.operation);
    const payload = { query: opening.query, variables: variablesOf(subscriber) };
    socket.send(JSON.stringify({ id, type: "subscribe", payload }));
  };
  await new Promise<void>((resolve, reject) => {
    socket.on("message", (data: Buffer) => {
      const begin = data.toString("latin1", 0, 400);
      if (begin.startsWith('{"type":"connection_ack"')) {
        subscribe();
        resolve();
      } else if (takeEvent(subscriber, begin)) {
        if (subscriber.isSlow && subscriber.received === 1) {
          subscriber.isPaused = true;
          socket.pause();
        }
      } else if (takeRefusal(subscriber, data.toString())) subscribe();
      else if (begin.includes('"type":"complete"') && begin.includes(`"id":"${subscriber.operation}"`)) {
        subscriber.isComplete = true;
      }
    });
    socket.on("error", reject);
    socket.once("open", () => socket.send('{"type":"connection_init"}'));
    socket.once("close", (code) => reject(new Error(`The socket was closed: ${code}`)));
  });
  socket.once("close", () => {
    if (subscriber.isPaused) subscriber.lost++;
    subscriber.isPaused = false;
    if (!subscriber.isComplete) void reopen(subscriber);
  });
}

async function openStream(subscriber: Subscriber): Promise<void> {
  const { opening, headers } = subscriber;
  const body = JSON.stringify({ query: opening.query, variables: variablesOf(subscriber) });
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const asked = request(`${opening.url}/graphql`, {
      method: "POST",
      agent,
      headers: { ...headers, "content-type": "application/json", accept: "text/event-stream" },
    });
    asked.once("response", resolve);
    asked.once("error", reject);
    asked.end(body);
  });
  if (response.statusCode !== 200) throw new Error(`Answered ${response.statusCode}.`);
  subscriber.resume = () => response.resume();
  let rest = "";
  await new Promise<void>((resolve) => {
    response.on("data", (chunk: Buffer) => {
      resolve(); // by the first comment, at the latest
      const events = (rest + chunk.toString("latin1")).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) {
        if (takeEvent(subscriber, event)) continue;
        if (takeRefusal(subscriber, event)) continue;
        if (event.startsWith("event: complete")) subscriber.isComplete = true;
      }
    });
  });
  response.on("error", () => undefined); // closed as well
  response.once("close", () => {
    if (!subscriber.isComplete) void reopen(subscriber);
  });
}

const open = (subscriber: Subscriber) =>
  subscriber.opening.protocol === "ws" ? openSocket(subscriber) : openStream(subscriber);

async function reopen(subscriber: Subscriber): Promise<void> {
  subscriber.reconnects++;
  subscriber.isCatchingUp = true;
  while (!subscriber.isComplete) {
    await delay(50 + Math.random() * 100);
    try {
      await open(subscriber);
      return;
    } catch {
      continue; // not back yet
    }
  }
}

/** @returns whether it is one */
function takeEvent(subscriber: Subscriber, begin: string): boolean {
  const found = /"sequence":"(\d+)","at":(?:"([^"]+)"|([\d.]+))/.exec(begin);
  if (!found) return false;
  const sequence = Number(found[1]);
  const { last } = subscriber;
  if (last !== null && sequence !== last + 1) subscriber.wrong ??= `${sequence} after ${last}`;
  subscriber.first ??= sequence;
  subscriber.last = sequence;
  subscriber.received++;
  if (subscriber.isSlow) return true;
  const latency = now() - (found[2] === undefined ? Number(found[3]) : Date.parse(found[2]));
  latencies.push(latency);
  if (latency < liveMs) subscriber.isCatchingUp = false;
  if (!subscriber.isCatchingUp) live.push(latency);
  return true;
}

/** @returns whether it says that the subscriber is to subscribe again after the last sequence */
function takeRefusal(subscriber: Subscriber, message: string): boolean {
  const error = /"code":"(\w+)"(?:[^{}]*"lastSequence":"(\d+)")?/.exec(message);
  if (!error) return false;
  const [, code, lastSequence] = error;
  if (code === "UPSTREAM_UNAVAILABLE") {
    subscriber.broken++;
    subscriber.isCatchingUp = true;
    return true;
  }
  if (code !== "SLOW_CONSUMER" || lastSequence === undefined) {
    subscriber.wrong ??= message.slice(0, 300);
    return false;
  }
  if (lastSequence !== String(subscriber.last)) subscriber.wrong ??= `told ${lastSequence} after ${subscriber.last}`;
  subscriber.told++;
  subscriber.isPaused = false;
  return true;
}

function statisticsOf(values: number[]): Latencies {
  const sorted = Float64Array.from(values).toSorted();
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1) ?? 0 };
}

function readerOf(subscriber: Subscriber): Reader {
  const { isSlow, last, first, received, reconnects, told, lost, broken, wrong, isComplete } = subscriber;
  return { isSlow, last, first, received, reconnects, told, lost, broken, wrong, isComplete };
}

async function openAll(opening: Opening): Promise<void> {
  const fresh = Array.from({ length: opening.count }, (_, index): Subscriber => {
    const headers = opening.headers[index] ?? opening.headers[0] ?? {};
    return {
      opening,
      headers,
      isSlow: index < (opening.slow ?? 0),
      last: null,
      first: null,
      received: 0,
      reconnects: 0,
      told: 0,
      lost: 0,
      broken: 0,
      wrong: null,
      isComplete: false,
      operation: 0,
      isCatchingUp: false,
      isPaused: false,
      resume: () => undefined,
    };
  });
  subscribers.push(...fresh);
  for (let at = 0; at < fresh.length; at += 50) await Promise.all(fresh.slice(at, at + 50).map(open));
}

process.on("message", (message: { open?: Opening; resume?: true }) => {
  void (async () => {
    if (message.open) {
      await openAll(message.open);
      process.send?.({ opened: subscribers.length });
    } else if (message.resume) {
      for (const { resume } of subscribers) resume();
      process.send?.({});
    } else {
      const report: ClientReport = {
        all: statisticsOf(latencies),
        live: statisticsOf(live),
        readers: subscribers.map(readerOf),
      };
      latencies = [];
      live = [];
      process.send?.(report);
    }
  })().catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
});
process.on("disconnect", () => process.exit(0));
process.send?.({});
