import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createTypeChooser } from "./media-types.ts";

const choose = createTypeChooser();
const JSON_TYPE = "application/json";
const RESPONSE = "application/graphql-response+json";
const EVENTS = "text/event-stream";
const MULTIPART = "multipart/mixed";

describe("what clients send is answered in what they can read", () => {
  test.each([
    [
      "urql",
      "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed",
      RESPONSE,
      EVENTS,
    ],
    ["Apollo Client 4", "application/graphql-response+json,application/json;q=0.9", RESPONSE, null],
    [
      "Apollo Client 4, @defer",
      "multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9",
      RESPONSE,
      null,
    ],
    [
      "Apollo Client 4, a subscription",
      "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9",
      RESPONSE,
      MULTIPART,
    ],
    ["Apollo Client 3", "*/*", JSON_TYPE, null],
    ["Apollo Client 3, @defer", "multipart/mixed; deferSpec=20220824, application/json", JSON_TYPE, null],
    [
      "Apollo Client 3, a subscription",
      "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json",
      JSON_TYPE,
      MULTIPART,
    ],
    ["Relay's network layer", "application/json", JSON_TYPE, null],
    [
      "graphql-request",
      "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
      RESPONSE,
      null,
    ],
    ["graphql-sse, EventSource", "text/event-stream", EVENTS, EVENTS],
    ["curl", "*/*", JSON_TYPE, null],
    ["nobody", undefined, JSON_TYPE, null],
    ["GraphiQL", "application/json, multipart/mixed", JSON_TYPE, null],
    ["Apollo's router, callbacks", "application/json;callbackSpec=1.0", JSON_TYPE, null],
    [
      "a browser's address bar",
      "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
      JSON_TYPE,
      null,
    ],
  ])("%s: %s", (_client, accept, result, stream) => {
    expect(choose(accept)).toMatchObject({ result, stream });
  });

  test.each([
    ["text/event-stream, application/json", EVENTS, EVENTS],
    ["text/event-stream;q=0.9, application/json", JSON_TYPE, EVENTS],
    ["application/json;q=0.5, text/event-stream;q=0.6", EVENTS, EVENTS],
    ["text/event-stream;q=0, application/json", JSON_TYPE, null],
    ["text/event-stream;q=0", null, null],
    ["application/json;q=0, */*", null, null],
    ["application/json;q=0, */*, application/graphql-response+json;q=0.1", RESPONSE, null],
    ["application/*;q=0.2, text/event-stream;q=0.1", JSON_TYPE, EVENTS],
    ['multipart/mixed;boundary="a,b;c";subscriptionSpec="1.0"', JSON_TYPE, MULTIPART],
    ["text/event-stream, multipart/mixed;subscriptionSpec=1.0;q=0.9", EVENTS, EVENTS],
    ["multipart/mixed;subscriptionSpec=1.0, text/event-stream;q=0.1", EVENTS, MULTIPART],
    ["application/json;charset=latin1", null, null],
    ["application/json;q=much", null, null],
    ["image/png", null, null],
    ["text/html", null, null],
  ])("%s", (accept, result, stream) => {
    expect(choose(accept)).toMatchObject({ result, stream });
  });
});

const range = fc.record({
  name: fc.constantFrom(JSON_TYPE, RESPONSE, EVENTS, MULTIPART, "*/*", "application/*", "text/html", "image/png"),
  q: fc.option(fc.integer({ min: 0, max: 10 }), { nil: null }),
  spec: fc.boolean(),
  space: fc.constantFrom("", " "),
});
const headerOf = (ranges: readonly { name: string; q: number | null; spec: boolean; space: string }[]) =>
  ranges
    .map(
      ({ name, q, spec, space }) =>
        `${name}${spec && name === MULTIPART ? `;${space}subscriptionSpec=1.0` : ""}${q === null ? "" : `;${space}q=${q / 10}`}`,
    )
    .join(`,${ranges[0]?.space ?? ""}`);

test("whatever is accepted, one result comes in what is wanted most, and a stream only where one is named", () => {
  fc.assert(
    fc.property(fc.uniqueArray(range, { minLength: 1, selector: ({ name }) => name }), (ranges) => {
      const quality = (...names: string[]) => {
        const found = names.map((name) => ranges.find((other) => other.name === name)).find((other) => other);
        return found ? (found.q ?? 10) : 0;
      };
      const qualities: Record<string, number> = {
        [JSON_TYPE]: quality(JSON_TYPE, "application/*", "*/*"),
        [RESPONSE]: quality(RESPONSE),
        [EVENTS]: quality(EVENTS),
      };
      const { result, stream } = choose(headerOf(ranges));
      const most = Math.max(...Object.values(qualities));
      if (most > 0) expect(qualities[result ?? ""]).toBe(most);
      else expect(result === null || (result === JSON_TYPE && quality(MULTIPART) > 0)).toBe(true);
      // JSON that is named first is never given up for a stream that is not wanted more.
      const [first] = ranges;
      if (first?.name === JSON_TYPE && (first.q ?? 10) === most && most > 0) expect(result).toBe(JSON_TYPE);
      const multipart = ranges.some(({ name, spec }) => name === MULTIPART && spec) ? quality(MULTIPART) : 0;
      const wanted = Math.max(quality(EVENTS), multipart);
      if (wanted === 0) expect(stream).toBeNull();
      else expect(stream === EVENTS ? quality(EVENTS) : multipart).toBe(wanted);
    }),
    { numRuns: 1_000 },
  );
});

test("any text at all is read without an error, and long ones in no time to speak of", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (accept) => void choose(accept)));
  // Read in time that grows with the square of the length, each would take longer than a test may.
  for (const part of ['"', ",", ";", '",', "a;q=0.1,", " ", "="]) choose(part.repeat(1_000_000 / part.length));
});
