import { createUserCaller } from "@toolyard/service-kit";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createEventFeeds, type EventEnvelope, type EventFeed } from "./event-feed.ts";
import { eventOperations } from "./event-logs.ts";
import { TOPICS, decodePosition, encodePosition } from "./event-position.ts";
import { readMessage, readSearch } from "./event-request.ts";
import { at, gateOf, logsOf, schema, type Logs } from "./fixtures/event-gate.ts";

const context = {
  caller: createUserCaller("u", "VIEWER"),
  requestId: "r",
};
const { signal } = createLightAbort();

let gate = gateOf(logsOf(0));
const feeds = createEventFeeds({
  gate: {
    inspect: (request) => gate.inspect(request),
    execute: (request) => gate.execute(request),
    subscribe: (request) => gate.subscribe(request),
  },
  apiSchema: () => schema,
});

function open(logs: Logs, message: object = {}, asked: Record<string, unknown>[] = []): Promise<EventFeed> {
  gate = gateOf(logs, asked);
  return feeds.open(readMessage({ type: "subscribe", ...message }), context, signal);
}

/** Reads so many events. */
async function take(feed: EventFeed, count: number): Promise<EventEnvelope[]> {
  const events: EventEnvelope[] = [];
  if (count === 0) return events;
  await feed.run((event) => {
    events.push(event);
    if (events.length === count) feed.stop();
    return null;
  });
  return events;
}

test("whoever goes on after any event's id misses nothing and gets nothing twice, in every log", async () => {
  const log = fc.record({ oldest: fc.nat(5), latest: fc.integer({ min: 5, max: 25 }) });
  const all = fc.record({ deployment: log, health: log, task: log, tool: log });
  await fc.assert(
    fc.asyncProperty(all, fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 5 }), async (logs, cuts) => {
      let after = "0";
      const got: EventEnvelope[] = [];
      let left = TOPICS.reduce((sum, topic) => sum + logs[topic].latest - logs[topic].oldest, 0);
      for (const count of [...cuts, Infinity]) {
        const events = await take(await open(logs, { after }), Math.min(count, left));
        left -= events.length;
        got.push(...events);
        after = events.at(-1)?.id ?? after;
      }
      for (const topic of TOPICS) {
        const { oldest, latest } = logs[topic];
        const sequences = got.filter(({ type }) => type === topic).map(({ id }) => decodePosition(id ?? "")[topic]);
        expect(sequences).toEqual(Array.from({ length: latest - oldest }, (_, index) => oldest + index + 1));
      }
    }),
  );
});

test("without a position, it begins now: its id names the end of each log before anything has come", async () => {
  const asked: Record<string, unknown>[] = [];
  const feed = await open(logsOf(7), {}, asked);
  expect(decodePosition(feed.id)).toEqual({ deployment: 7, health: 7, task: 7, tool: 7 });
  expect(asked.map(({ topic, after }) => [topic, after])).toEqual(TOPICS.map((topic) => [topic, "7"]));
});

test("data is in snake_case, without the log's own sequence", async () => {
  const [event] = await take(await open(logsOf(1), { after: "0", topics: ["task"] }), 1);
  const data = { task_id: "k", status: "RUNNING", progress: undefined, message: undefined };
  expect(event).toEqual({
    id: encodePosition({ task: 1 }),
    type: "task",
    at,
    data: { ...data, task: { kind: "FEASIBILITY", tool_id: null } },
  });
});

test("a log that was not followed before begins now, and keeps its place while it is not followed again", async () => {
  const logs = logsOf(9);
  const id = encodePosition({ deployment: 4, tool: 5 });
  const feed = await open(logs, { after: id, topics: ["tool", "task"] });
  expect(decodePosition(feed.id)).toEqual({ deployment: 4, tool: 5, task: 9 });
});

test("a position that a log does not hold is refused with the one to go on from", async () => {
  const logs = { ...logsOf(9), task: { oldest: 5, latest: 9 } };
  const old = { deployment: 1, health: 2, task: 4, tool: 3 };
  const refusal = open(logs, { after: encodePosition(old) });
  await expect(refusal).rejects.toMatchObject({
    code: "BAD_USER_INPUT",
    message: expect.stringContaining("before the oldest task events") as string,
    extensions: { oldest: encodePosition({ ...old, task: 5 }), problems: [{ path: "after" }] },
  });
  // Of a log that is not asked for, it may say anything.
  await open(logs, { after: encodePosition(old), topics: ["tool"] });
  await expect(open(logs, { after: encodePosition({ ...old, task: 5, tool: 10 }) })).rejects.toMatchObject({
    message: expect.stringContaining("beyond the end") as string,
    extensions: { latest: encodePosition({ deployment: 9, health: 9, task: 9, tool: 9 }) },
  });
});

test("filters reach each subscription by the thing's id; what is not there is NOT_FOUND before anything is sent", async () => {
  const asked: Record<string, unknown>[] = [];
  await open(logsOf(0), { tool_id: "slug" }, asked);
  expect(asked).toHaveLength(TOPICS.length);
  for (const variables of asked) expect(variables).toMatchObject({ toolId: "tool-id" });
  await expect(open(logsOf(0), { tool_id: "no" })).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("one log that breaks ends the whole, with words for this stream and all that was sent in its id", async () => {
  const end = {
    errors: [graphqlError("SLOW_CONSUMER", 'Subscribe again with after: "3".', { extensions: { lastSequence: "3" } })],
  };
  const feed = await open({ ...logsOf(0), tool: { oldest: 0, latest: 3, end } }, { after: "0", topics: ["tool"] });
  const broken = feed.run(() => null);
  await expect(broken).rejects.toMatchObject({
    code: "SLOW_CONSUMER",
    message: expect.stringContaining("after the last id") as string,
    extensions: expect.not.objectContaining({ last_sequence: "3" }) as object,
  });
  expect(feed.id).toBe(encodePosition({ tool: 3 }));
});

test("an event is asked for once there is room for it", async () => {
  const feed = await open(logsOf(3), { after: "0", topics: ["tool"] });
  const rooms: (() => void)[] = [];
  const done = feed.run(() => new Promise((resolve) => rooms.push(resolve)));
  await expect.poll(() => rooms.length).toBe(1);
  expect(decodePosition(feed.id)).toEqual({ tool: 1 });
  rooms[0]?.();
  await expect.poll(() => rooms.length).toBe(2);
  feed.stop();
  rooms[1]?.();
  await done;
  expect(rooms).toHaveLength(2);
});

test("a deployment has events of its own in two logs only", () => {
  expect(readMessage({ type: "subscribe", deployment_id: "d" }).topics).toEqual(["deployment", "health"]);
  expect(() => readMessage({ type: "subscribe", deployment_id: "d", topics: ["task"] })).toThrow("of no deployment");
});

test("Last-Event-ID is newer than `after`, since EventSource connects again to the same address", () => {
  const [older, newer] = [encodePosition({ tool: 1 }), encodePosition({ tool: 2 })];
  expect(readSearch(new URLSearchParams({ after: older }), newer).after).toEqual({ tool: 2 });
  expect(readSearch(new URLSearchParams({ after: older }), "").after).toEqual({ tool: 1 });
  expect(readSearch(new URLSearchParams("topics=tool&topics=task"), undefined).topics).toEqual(["tool", "task"]);
  expect(readSearch(new URLSearchParams({ topics: "tool,task,tool" }), undefined)).toMatchObject({
    topics: ["tool", "task"],
    after: null,
  });
});

test("operations are the same texts whatever is asked for, so that a safelist can hold them", () => {
  expect(new Set(eventOperations).size).toBe(1 + TOPICS.length);
});
