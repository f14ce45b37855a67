import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { kindOf, type Message } from "../protocol/json-rpc.ts";
import { MAX_WATCHED } from "../protocol/watched.ts";
import { fakeChild } from "./child.fixture.ts";
import { adaptStatelessChild } from "./stateless-child.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** An adapted child: what its server gets, and what its clients get. */
function start(react: (message: Message, write: (message: object) => void) => void = () => undefined) {
  const { child, sent, say } = fakeChild();
  const given: Message[] = [];
  const adapted = adaptStatelessChild(child);
  const write = (message: object) => adapted.send(JSON.stringify({ jsonrpc: "2.0", ...message }));
  const onMessage = (message: Message) => {
    given.push(message);
    react(message, write);
  };
  adapted.handle({ onMessage, onEnd: () => undefined });
  return {
    given,
    /** Requests that the server got, without cancellations. */
    asked: () => sent.filter((message) => kindOf(message) === "request"),
    cancelled: () =>
      sent
        .filter(({ method }) => method === "notifications/cancelled")
        .map((message) => message.params?.requestId as unknown),
    write,
    answer: (id: Message["id"], result: object) => say({ jsonrpc: "2.0", id: id ?? null, result }),
  };
}

const call = (id: string | number) => ({ id, method: "tools/call", params: { name: "pay" } });
const cancel = (requestId: string | number) => ({ method: "notifications/cancelled", params: { requestId } });
const emptyRound = { resultType: "input_required", requestState: "s1" };

test("a call that is cancelled between two of its rounds does not go on", () => {
  const { write, answer, asked, cancelled } = start();
  for (const id of [7, 8]) {
    write(call(id));
    answer(id, emptyRound);
  }
  write(cancel(7));
  vi.advanceTimersByTime(10_000);
  expect(asked().map(({ params }) => params?.requestState)).toEqual([undefined, undefined, "s1"]);
  expect(cancelled()).toEqual([]);
  // The one that went on is cancelled under the id that it has at the server.
  write(cancel(8));
  expect(cancelled()).toEqual([asked().at(-1)?.id]);
});

test("a call that waits for its client's input is given up with it", () => {
  const { write, answer, asked, cancelled, given } = start();
  write(call(7));
  answer(7, { ...emptyRound, inputRequests: { who: { method: "elicitation/create", params: { message: "?" } } } });
  const question = given.at(-1);
  expect(question).toMatchObject({ method: "elicitation/create", params: { message: "?" } });
  write(cancel(7));
  write({ id: question?.id, result: { action: "accept" } });
  expect(asked()).toHaveLength(1);
  expect(cancelled()).toEqual([]);
});

test("ids that clients choose are theirs, whatever they look like", () => {
  const { write, answer, asked, given } = start();
  write({ id: 0, method: "initialize", params: { capabilities: {} } });
  answer(asked().at(-1)?.id, { capabilities: { tools: { listChanged: true } } });
  write({ method: "notifications/initialized" });
  write(call(1));
  answer(1, emptyRound);
  vi.advanceTimersByTime(1_000);
  const own = ["toolyard-discover", "toolyard-leg:1", "toolyard-leg:2", "toolyard-listen:1", "toolyard-listen:2"];
  for (const id of own) {
    expect(asked().map((message) => message.id)).not.toContain(id);
    write(call(id));
    answer(id, { content: [id] });
    expect(given.at(-1)).toMatchObject({ id, result: { content: [id] } });
  }
});

test("a round that asks for more than a client can be asked fails its call", () => {
  const { write, answer, given } = start();
  const inputRequests = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, { method: "roots/list" }]));
  write(call(7));
  answer(7, { ...emptyRound, inputRequests: inputRequests(256) });
  expect(given.splice(0)).toHaveLength(256);
  write(call(8));
  answer(8, { ...emptyRound, inputRequests: inputRequests(257) });
  expect(given).toMatchObject([{ id: 8, error: { message: "the server required more than 256 inputs at once" } }]);
});

test("a call whose input is refused at once is answered once, and asks for no more", () => {
  const refused = { code: -32_000, message: "too many" };
  const { write, answer, given } = start((message, reply) => {
    if (kindOf(message) === "request") reply({ id: message.id, error: refused });
  });
  write(call(7));
  answer(7, { ...emptyRound, inputRequests: { a: { method: "roots/list" }, b: { method: "roots/list" } } });
  expect(given).toMatchObject([{ method: "roots/list" }, { id: 7, error: refused }]);
});

test("an input that is required by no request fails its call", () => {
  const { write, answer, given } = start();
  write(call(7));
  answer(7, { ...emptyRound, inputRequests: { a: "roots/list" } });
  expect(given).toMatchObject([{ id: 7, error: { message: expect.stringContaining("not a request") } }]);
});

test("no more resources are watched than a session may be told of, under URIs of a bounded length", () => {
  const { write, given } = start();
  const subscribe = (id: number, uri: string) => write({ id, method: "resources/subscribe", params: { uri } });
  for (let id = 0; id < MAX_WATCHED; id++) subscribe(id, `file:///${id}`);
  expect(given.splice(0).every(({ error }) => error === undefined)).toBe(true);
  subscribe(2_000, "file:///one-more");
  subscribe(2_001, "file:///0");
  write({ id: 2_002, method: "resources/unsubscribe", params: { uri: "file:///0" } });
  subscribe(2_003, "file:///one-more");
  subscribe(2_004, `file:///${"x".repeat(9_000)}`);
  expect(given.map(({ id, error }) => [id, error?.message])).toEqual([
    [2_000, "at most 1024 resources are watched at once"],
    [2_001, undefined],
    [2_002, undefined],
    [2_003, undefined],
    [2_004, "the URI of a resource has at most 8192 characters"],
  ]);
});
