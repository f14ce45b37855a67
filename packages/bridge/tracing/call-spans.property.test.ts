import fc from "fast-check";
import { expect, test } from "vitest";
import { type Message, readMessage } from "../protocol/json-rpc.ts";
import { createCallSpans, spanOf } from "./call-spans.ts";
import { TRACE_HEADER } from "./trace-header.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const json = fc.jsonValue().map((value) => JSON.stringify(value));
const space = fc.constantFrom("", " ", "  ");

/** Requests as clients may write them. `DIGITS` is a number that JavaScript would print otherwise. */
const requests = fc
  .record({
    space,
    meta: fc.option(
      fc.array(fc.tuple(fc.constantFrom("x", "progressToken", "tracestate", "y/z"), json), { maxLength: 3 }),
    ),
    params: fc.option(fc.array(fc.tuple(fc.constantFrom("name", "arguments", "_x"), json), { maxLength: 3 })),
    isMetaFirst: fc.boolean(),
  })
  .map(({ space, meta, params, isMetaFirst }) => {
    const object = (members: string[]): string => `{${space}${members.join(`,${space}`)}${space}}`;
    const member = ([key, value]: [string, string]): string => `${JSON.stringify(key)}:${space}${value}`;
    const ofMeta = meta === null ? [] : [`"_meta":${object(meta.map(([key, value]) => member([key, value])))}`];
    const others = [...(params ?? []).map(member), '"digits":12345678901234567890'];
    const all = params === null && meta === null ? [] : isMetaFirst ? [...ofMeta, ...others] : [...others, ...ofMeta];
    return `{"jsonrpc":"2.0","id":1,"method":"tools/call"${all.length === 0 ? "" : `,"params":${object(all)}`}${space}}`;
  });

function continued(text: string, headers: Record<string, string>): { message: Message; text: string } {
  const message = readMessage(JSON.parse(text)) as Message; // the generator makes messages
  return { message, text: createCallSpans().continue(message, text, headers) };
}

test("a request gets the context of its headers, in its text as in its message, and all else of it stays", () => {
  fc.assert(
    fc.property(requests, (text) => {
      const headers = { traceparent: TRACEPARENT, tracestate: "a=1", baggage: 'b="2"' };
      const { message, text: given } = continued(text, headers);
      const before = JSON.parse(text) as { params?: { _meta?: object } };
      const expected = { ...before, params: { ...before.params, _meta: { ...before.params?._meta, ...headers } } };
      expect(JSON.parse(given)).toEqual(expected);
      expect(message).toEqual(expected);
      expect(given.includes("12345678901234567890")).toBe(text.includes("12345678901234567890"));
    }),
  );
});

test("what is recorded gets a context of its own, and what is not sampled or malformed stays to the letter", () => {
  fc.assert(
    fc.property(requests, (text) => {
      const recorded = continued(text, { traceparent: TRACEPARENT, [TRACE_HEADER]: "record" });
      expect(
        (JSON.parse(recorded.text) as { params: { _meta: { traceparent: string } } }).params._meta.traceparent,
      ).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[\da-f]{16}-01$/);
      expect(spanOf(recorded.message)).not.toBeNull();
      for (const traceparent of [TRACEPARENT.replace(/01$/, "00"), "nonsense", undefined]) {
        const left = continued(text, { ...(traceparent && { traceparent }), [TRACE_HEADER]: "record" });
        expect(left.text).toBe(text);
        expect(spanOf(left.message)).toBeNull();
      }
    }),
  );
});

test("spans of calls that were sent are given out once, with what ended them; nobody's are kept without end", () => {
  let now = 0;
  const spans = createCallSpans({ now: () => now });
  const begin = (): Message => {
    const message = readMessage({ jsonrpc: "2.0", id: 1, method: "tools/call" }) as Message;
    spans.continue(message, "{}", { traceparent: TRACEPARENT, [TRACE_HEADER]: "record" });
    return message;
  };
  const [answered, refused] = [spanOf(begin()), spanOf(begin())];
  now = 5;
  answered?.sent();
  now = 9;
  answered?.end("tool_error");
  answered?.end(null);
  refused?.end("cancelled");
  const [told, ...others] = spans.drain();
  expect(told).toMatchObject({ parentSpanId: "b7ad6b7169203331", startedAt: 5, endedAt: 9, error: "tool_error" });
  expect([others, spans.drain()]).toEqual([[], []]);
  for (let count = 0; count < 3_000; count += 1) {
    const span = spanOf(begin());
    span?.sent();
    span?.end(String(count));
  }
  const kept = spans.drain();
  expect(kept).toHaveLength(2_048);
  expect(kept.at(-1)?.error).toBe("2999");
});
