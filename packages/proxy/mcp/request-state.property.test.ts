import fc from "fast-check";
import { expect, test } from "vitest";
import { createRequestStates, type StatefulCall } from "./request-state.ts";
import { createBudget } from "../calls/budget.ts";
import { createEventFilter, createJsonFilter, openState, signState } from "./round-trips.ts";

const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("base64url"));
const place = fc.record({
  replicaId: fc.oneof(fc.uuid(), fc.string({ minLength: 1, maxLength: 40 })),
  own: fc.string({ unit: "grapheme" }),
});
const call: fc.Arbitrary<StatefulCall> = fc.record({
  subject: fc.string(),
  toolId: fc.uuid(),
  mcpMethod: fc.constantFrom("tools/call", "prompts/get"),
  mcpName: fc.string(),
});
const hour = 3_600_000;

test("a state is opened by any proxy with the key, for the same user and call, within the hour", () => {
  fc.assert(
    fc.property(key, place, call, (secret, state, of) => {
      const signed = createRequestStates({ key: secret, now: () => 1_000 }).sign(state, of);
      expect(createRequestStates({ key: secret, now: () => 1_000 + hour }).open(signed, of)).toEqual(state);
      expect(createRequestStates({ key: secret, now: () => 1_001 + hour }).open(signed, of)).toBeNull();
    }),
  );
});

test("for nobody else: not for another user, tool, method or name, another key, a changed or another text", () => {
  fc.assert(
    fc.property(key, key, place, call, call, fc.nat(), (secret, otherSecret, state, of, other, at) => {
      fc.pre(secret !== otherSecret);
      const states = createRequestStates({ key: secret, now: () => 0 });
      const signed = states.sign(state, of);
      for (const field of ["subject", "toolId", "mcpMethod", "mcpName"] as const) {
        if (of[field] !== other[field]) expect(states.open(signed, { ...of, [field]: other[field] })).toBeNull();
      }
      expect(createRequestStates({ key: otherSecret, now: () => 0 }).open(signed, of)).toBeNull();
      const spot = at % signed.length;
      const changed = `${signed.slice(0, spot)}${signed[spot] === "A" ? "B" : "A"}${signed.slice(spot + 1)}`;
      for (const text of [changed, `${signed}=`, `${signed}A`, signed.slice(0, -1), state.own, ""])
        expect(states.open(text, of)).toBeNull();
    }),
  );
});

const question = fc.record({ state: fc.string({ unit: "grapheme" }), text: fc.string({ unit: "grapheme" }) });
const ask = ({ state, text }: { state: string; text: string }, key = "requestState") =>
  `{"jsonrpc" : "2.0","id":9007199254740993, "result":{"resultType":"input_required","${key}":${JSON.stringify(state)},"n":1.0,"text":${JSON.stringify(text)}}}`;

test("what a server asks is signed in place, and what comes back is opened in place: every other byte stays", () => {
  const states = createRequestStates({ key: "k".repeat(43), now: () => 0 });
  fc.assert(
    fc.property(question, call, fc.boolean(), (asked, of, escaped) => {
      const spelled = escaped ? "\\u0072equestState" : "requestState";
      const json = ask(asked, spelled);
      const signed = signState(Buffer.from(json), (own) => states.sign({ replicaId: "r", own }, of)).toString();
      const held = JSON.parse(signed).result.requestState;
      expect(held).not.toBe(asked.state);
      expect(signed.replace(JSON.stringify(held), () => JSON.stringify(asked.state))).toBe(json);
      const body = `{"id":1e2,"params":{"${spelled}":"${held}","text":${JSON.stringify(asked.text)}}}`;
      const opened = openState(Buffer.from(body), states, of);
      expect(opened).toEqual({
        replicaId: "r",
        body: Buffer.from(body.replace(`"${held}"`, () => JSON.stringify(asked.state))),
      });
      // A state that nobody signed reaches no server, however its key is spelled.
      expect(openState(Buffer.from(body.replace(held, "raw")), states, of)).toBe("invalid");
    }),
  );
});

/** @throws where there was no room */
function bytesOf(passed: Buffer | null | "no room"): Buffer {
  if (passed === "no room") throw new Error(passed);
  return passed ?? Buffer.alloc(0);
}

test("answers are the same however they are cut, as JSON and as events", () => {
  const sign = (own: string) => `signed ${own}`;
  fc.assert(
    fc.property(
      fc.array(fc.oneof(question.map(ask), fc.constant('{"method":"notifications/progress"}')), { minLength: 1 }),
      fc.array(fc.nat(400)),
      fc.constantFrom("\n", "\r\n"),
      (messages, cuts, lineEnd) => {
        const expected = messages.map((json) => signState(Buffer.from(json), sign).toString());
        const stream = (texts: string[]) =>
          texts.map((text) => `event: message${lineEnd}data: ${text}${lineEnd}${lineEnd}`).join("");
        const budget = createBudget(1024 * 1024);
        for (const [whole, wanted, filter] of [
          [stream(messages), stream(expected).replaceAll("\r\n", "\n"), createEventFilter(sign, budget)],
          [messages[0] ?? "", expected[0], createJsonFilter(sign, budget)],
        ] as const) {
          let rest = Buffer.from(whole);
          const out: Buffer[] = [];
          for (const cut of cuts) {
            out.push(bytesOf(filter.push(rest.subarray(0, cut))));
            rest = rest.subarray(cut);
          }
          out.push(bytesOf(filter.push(rest)), filter.end() ?? Buffer.alloc(0));
          expect(Buffer.concat(out).toString().replaceAll("\r\n", "\n")).toBe(wanted);
        }
        // Nothing is counted as held when it has gone on.
        expect(budget.take(1024 * 1024)).toBe(true);
      },
    ),
  );
});

test("an event goes on as soon as it is whole; what there is no room for does not go on unsigned", () => {
  const filter = createEventFilter((own) => own, createBudget(1_000));
  for (const byte of Buffer.from("data: 1\r\n\r")) expect(filter.push(Buffer.of(byte))).toBeNull();
  expect(filter.push(Buffer.from("\n"))?.toString()).toBe("data: 1\r\n\r\n");
  expect(filter.push(Buffer.from(`data: ${"x".repeat(2_000)}`))).toBe("no room");
  const budget = createBudget(10);
  const json = createJsonFilter((own) => own, budget);
  expect(json.push(Buffer.from("0123456789"))).toBeNull();
  expect(json.push(Buffer.from("a"))).toBe("no room");
  expect(budget.take(10)).toBe(true);
});

test("an event that ends with its beginning long held is signed where there is no room for its end", () => {
  const event = Buffer.from(`data: ${ask({ state: "own", text: "" })}\n\n`);
  const filter = createEventFilter((own) => `signed ${own}`, createBudget(10));
  expect(filter.push(event.subarray(0, 10))).toBeNull();
  expect(bytesOf(filter.push(event.subarray(10))).toString()).toContain("signed own");
});

test("one that is longer than any that is held goes on as it is", () => {
  const json = createJsonFilter((own) => own, createBudget(Infinity));
  const long = Buffer.alloc(16 * 1024 * 1024, "x");
  expect(json.push(long)).toBeNull();
  expect(bytesOf(json.push(Buffer.from("a"))).length).toBe(long.length + 1);
  expect(json.push(Buffer.from("b"))?.toString()).toBe("b");
  expect(json.end()).toBeNull();
});
