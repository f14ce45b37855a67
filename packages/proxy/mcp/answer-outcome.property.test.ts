import fc from "fast-check";
import { expect, test } from "vitest";
import { watchEvents, watchJson, type McpFailure, type OutcomeWatch } from "./answer-outcome.ts";

function failureOf(value: unknown): McpFailure | null {
  const messages = (Array.isArray(value) ? value : [value]) as Record<string, unknown>[];
  // Of a message that has both, which no server sends, the first.
  for (const [key, item] of messages.flatMap((one) => Object.entries(one))) {
    if (key === "error" && item !== null) return "RPC_ERROR";
    if (key === "result" && item !== null && typeof item === "object" && !Array.isArray(item) && "isError" in item)
      if (item.isError === true) return "TOOL_ERROR";
  }
  return null;
}

const messagesOf = (value: unknown) => (Array.isArray(value) ? value : [value]) as Record<string, unknown>[];

/** Names of tools that a message lists, as a parser finds them. */
function toolsOf(value: unknown): string[] {
  return messagesOf(value)
    .flatMap(({ result }) => (isObject(result) && Array.isArray(result["tools"]) ? (result["tools"] as unknown[]) : []))
    .flatMap((tool) => (isObject(tool) && typeof tool["name"] === "string" ? [tool["name"]] : []));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Values in which the words that matter stand everywhere: as keys at other depths, in strings, in arrays. */
const words = fc.constantFrom(
  "error",
  "isError",
  "result",
  "tools",
  "name",
  '"isError":true',
  '\\"error\\":{}',
  "\\",
  '"',
  "x",
);
const leaf = fc.oneof(
  fc.boolean(),
  fc.constant(null),
  fc.double({ noNaN: true }),
  words,
  fc.string({ unit: "binary" }),
);
const { value: anything } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(words, fc.string()), tie("value"), { maxKeys: 4 }),
  ),
}));
const toolResult = fc.record(
  { content: anything, isError: fc.boolean(), structuredContent: anything },
  { requiredKeys: [] },
);
const message = fc.record(
  {
    jsonrpc: fc.constant("2.0"),
    id: leaf,
    method: words,
    params: anything,
    result: fc.oneof(toolResult, anything),
    error: fc.oneof(fc.constant(null), anything),
  },
  { requiredKeys: [] },
);
/** Keys may be spelled with escapes; spaces may be anywhere. */
const spelled = fc
  .tuple(fc.oneof(message, fc.array(message, { minLength: 1, maxLength: 3 })), fc.boolean(), fc.boolean())
  .map(([value, spaces, escapes]) => {
    const text = JSON.stringify(value, null, spaces ? 2 : 0);
    return {
      value: JSON.parse(text) as unknown,
      text: escapes ? text.replaceAll('"isError"', '"\\u0069sError"').replaceAll('"error"', '"err\\u006Fr"') : text,
    };
  });
const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });

function feed(watch: OutcomeWatch, bytes: Buffer, lengths: readonly number[]): McpFailure | null {
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const length = lengths[index % lengths.length] ?? 1;
    watch.see(bytes.subarray(at, at + length));
    at += length;
  }
  return watch.failure;
}

test("a JSON answer's failure is what a parser finds, however it is spelled and cut", () => {
  fc.assert(
    fc.property(spelled, cuts, ({ value, text }, lengths) => {
      expect(feed(watchJson(), Buffer.from(text), lengths)).toBe(failureOf(value));
      expect(feed(watchJson(), Buffer.from(text), [1_000_000])).toBe(failureOf(value));
    }),
    { numRuns: 2_000 },
  );
});

test("a stream's failure is that of one of its messages, however its lines end and it is cut", () => {
  const breaks = fc.constantFrom("\n", "\r\n");
  fc.assert(
    fc.property(fc.array(spelled, { minLength: 1, maxLength: 4 }), breaks, cuts, (messages, newline, lengths) => {
      const stream = messages
        .map(({ text }) =>
          [": ping", "event: message", "id: isError", ...text.split("\n").map((line) => `data: ${line}`), "", ""].join(
            newline,
          ),
        )
        .join("");
      const failures = messages.map(({ value }) => failureOf(value)).filter((failure) => failure !== null);
      expect(feed(watchEvents(), Buffer.from(stream), lengths)).toBe(failures[0] ?? null);
    }),
    { numRuns: 1_000 },
  );
});

test("a JSON-RPC error's code is its own, wherever it stands in it and however it is cut, if it is near its beginning", () => {
  const error = fc
    .tuple(
      fc.integer(),
      fc.array(fc.tuple(fc.constantFrom<string>("message", "data", "x"), anything), { maxLength: 3 }),
      fc.nat(3),
    )
    .map(([code, others, place]) => ({ code, entries: others.toSpliced(place, 0, ["code", code]) }));
  fc.assert(
    fc.property(error, cuts, ({ code, entries }, lengths) => {
      const text = JSON.stringify({ jsonrpc: "2.0", id: 1, error: Object.fromEntries(entries) });
      const isNear = Buffer.byteLength(text) < 500;
      const [json, events] = [watchJson(), watchEvents()];
      feed(json, Buffer.from(text), lengths);
      feed(events, Buffer.from(`data: ${text}\n\n`), lengths);
      if (isNear) expect([json.errorCode, events.errorCode]).toEqual([code, code]);
      expect([code, null]).toContain(json.errorCode);
    }),
    { numRuns: 500 },
  );
});

/** Lists of tools, each of which has names at other places too. */
const tool = fc.oneof(
  fc.record(
    {
      name: fc.oneof(
        fc.string({ unit: "grapheme" }),
        fc.string({ unit: "binary" }).map((text) => text.toWellFormed()),
        words,
        anything,
      ),
      inputSchema: fc.record({ properties: anything, name: words }),
      title: words,
      annotations: anything,
    },
    { requiredKeys: [] },
  ),
  anything,
);
const list = fc.record(
  {
    jsonrpc: fc.constant("2.0"),
    id: leaf,
    result: fc.oneof(
      fc.record(
        { before: anything, tools: fc.array(tool, { maxLength: 5 }), nextCursor: words, prompts: fc.array(tool) },
        { requiredKeys: [] },
      ),
      fc.record({ tools: anything, name: words }),
      anything,
    ),
    params: fc.record({ tools: fc.array(tool, { maxLength: 2 }) }),
  },
  { requiredKeys: [] },
);

test("the tools that an answer lists are what a parser finds, however they are spelled and cut", () => {
  fc.assert(
    fc.property(
      fc.oneof(list, fc.array(list, { minLength: 1, maxLength: 2 })),
      fc.boolean(),
      cuts,
      (value, spaces, lengths) => {
        const text = JSON.stringify(value, null, spaces ? 2 : 0);
        const parsed = JSON.parse(text) as unknown;
        // After a failure nothing is read on.
        fc.pre(failureOf(parsed) === null);
        for (const spelled of [
          text,
          text.replaceAll('"name"', '"n\\u0061me"').replaceAll('"tools"', '"\\u0074ools"'),
        ]) {
          const watch = watchJson({ lists: true });
          feed(watch, Buffer.from(spelled), lengths);
          expect(watch.tools).toEqual(toolsOf(parsed));
          expect(watch.answered).toBe(messagesOf(parsed).some((message) => "result" in message));
          const ofStream = watchEvents({ lists: true });
          feed(ofStream, Buffer.from(`event: message\ndata: ${text.replaceAll("\n", "\ndata: ")}\n\n`), lengths);
          expect([ofStream.tools, ofStream.answered]).toEqual([watch.tools, watch.answered]);
          const notAsked = watchJson();
          feed(notAsked, Buffer.from(spelled), lengths);
          expect(notAsked.tools).toEqual([]);
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test("of an answer's names only so many are kept, and none longer than names are", () => {
  const names = Array.from({ length: 3_000 }, (_, n) => `tool-${n}`);
  const watch = watchJson({ lists: true });
  feed(
    watch,
    Buffer.from(
      JSON.stringify({ result: { tools: [{ name: "x".repeat(5_000) }, ...names.map((name) => ({ name }))] } }),
    ),
    [1_000],
  );
  expect(watch.tools).toEqual(names.slice(0, 2_000));
});

test("a long string with backslashes at every place of a cut is skipped", () => {
  const text = JSON.stringify({
    result: { content: [{ text: `${"\\".repeat(101)}"isError":true,${"a".repeat(200)}\\` }], isError: true },
  });
  for (let length = 1; length < 150; length += 1)
    expect(feed(watchJson(), Buffer.from(text), [length])).toBe("TOOL_ERROR");
  const fine = text.replace(/"isError":true}}$/, '"isError":false}}');
  for (let length = 1; length < 150; length += 1) expect(feed(watchJson(), Buffer.from(fine), [length])).toBeNull();
});
