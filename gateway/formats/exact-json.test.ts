import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { anonymous } from "@toolyard/service-kit";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { exactDigitsOf, holdsUnsafeInteger, parseClientExactly, parseExactly } from "./exact-json.ts";
import { createExecutor } from "../execution/executor.ts";
import { composeFixture } from "../execution/fixtures/compose.ts";
import { plannersInTurn } from "../execution/fixtures/strict-executor.ts";
import { createHttpClient } from "../execution/clients/http-client.ts";
import { createLocalPlanner } from "../execution/fixtures/local-planner.ts";

const composed = composeFixture({
  a: {
    typeDefs: `scalar Big input In { big: Big id: ID f: Float }
      type Query { p(id: Big!, more: [Big!], in: In, any: Big): P }
      type P @key(fields: "id") { id: Big! n: ID! x: Float json: Big }`,
    resolvers: {},
  },
  b: { typeDefs: `scalar Big type P @key(fields: "id") { id: Big! back: Big }`, resolvers: {} },
});

/** A subgraph that answers always the same, whatever it is called, and the bodies that it was sent. */
async function serve(answer: string): Promise<{ url: string; bodies: string[] }> {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      bodies.push(body);
      // Keys may be asked for under another name.
      const named = [...body.matchAll(/(\w+): ?id\b/g)].map(([, alias]) => `"${alias}":9007199254740993,`);
      response
        .setHeader("content-type", "application/json")
        .end(answer.replace('"__typename"', `${named.join("")}"__typename"`));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  // `listen` on a TCP port answers an AddressInfo.
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, bodies };
}

describe.each(plannersInTurn)("planned by %s", (_name, cores) => {
  test("integers beyond 2^53 keep their digits: in variables, literals, defaults, answers and keys", async () => {
    const a = await serve(
      `{"data":{"p":{"__typename":"P","id":9007199254740993,"n":12345678901234567890,"x":12345678901234567890,"json":{"a":[-9007199254740995]}}}}`,
    );
    const b = await serve(`{"data":{"_entities":[{"__typename":"P","back":98765432109876543210}]}}`);
    const clients = Object.entries({ a, b }).map(([name, { url }]) =>
      createHttpClient({ name, url, headersFor: () => ({}) }),
    );
    const { supergraphSdl } = composed;
    const executor = createExecutor({
      supergraphSdl,
      clients,
      planner: createLocalPlanner({ supergraphSdl, cores: cores({ supergraphSdl }) }),
    });
    onTestFinished(async () => {
      await executor.close();
      for (const client of clients) await client.close();
    });
    const result = await executor.execute({
      query: `query ($id: Big!, $in: In, $any: Big = 11111111111111111111) {
        p(id: $id, more: [22222222222222222222, 1], in: $in, any: $any) { id n x json back } }`,
      operationName: null,
      // As a body is read.
      variables: parseExactly(
        `{"id":9007199254740993,"in":{"big":{"c":[33333333333333333333]},"id":44444444444444444444,"f":55555555555555555555}}`,
      ) as Record<string, unknown>,
      context: { caller: anonymous, requestId: "r" },
    });
    expect(JSON.stringify(result)).toBe(
      `{"data":{"p":{"id":9007199254740993,"n":"12345678901234567890","x":12345678901234567000,"json":{"a":[-9007199254740995]},"back":98765432109876543210}}}`,
    );
    const [asked] = a.bodies;
    expect(asked).toContain(`"id":9007199254740993`);
    expect(asked).toContain(`"big":{"c":[33333333333333333333]}`);
    expect(asked).toContain(`"id":"44444444444444444444"`);
    expect(asked).toContain(`"any":11111111111111111111`);
    expect(asked).toMatch(/more:\s*\[22222222222222222222,? ?1\]/);
    expect(b.bodies[0]).toContain(`"id":9007199254740993`);
  });
});

test("all JSON comes back as it was read, and what has no such integer is plain JSON", () => {
  const integer = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }).map(String);
  const leaf = fc.oneof(
    integer,
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((one) => JSON.stringify(one)),
    fc.string().map((one) => JSON.stringify(one)),
  );
  const { json } = fc.letrec<{ json: string }>((tie) => ({
    json: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie("json")).map((items) => `[${items.join(",")}]`),
      fc.dictionary(fc.string(), tie("json")).map((object) => {
        const entries = Object.entries(object).filter(([key]) => !/^\d+$/.test(key) && key !== "__proto__");
        return `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")}}`;
      }),
    ),
  }));
  fc.assert(
    fc.property(json, (source) => {
      // -0 and the spelling of fractions are JSON.stringify's own.
      expect(JSON.stringify(parseExactly(source))).toBe(exactly(source));
    }),
    { numRuns: 500 },
  );
  expect(parseExactly(`{"a":[1,"1234567890123456789",1.5,9007199254740991]}`)).toEqual({
    a: [1, "1234567890123456789", 1.5, 9007199254740991],
  });
  expect(exactDigitsOf(parseExactly("12345678901234567890"))).toBe("12345678901234567890");
  const sent = '{"a":[1e400,-1E+999,2e308,1e308,1e-400]}';
  expect(JSON.stringify(parseClientExactly(sent))).toBe('{"a":[1e400,-1E+999,2e308,1e+308,0]}');
  expect(holdsUnsafeInteger("{ a(b: 12345678901234567890) }")).toBe(true);
  expect(holdsUnsafeInteger("{ a(b: 1234567890123456) c12345678901234567890 }")).toBe(false);
});

/** The same text, numbers with a fraction or an exponent as JSON.stringify spells them. */
function exactly(source: string): string {
  return source.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    token.startsWith('"') || (/^-?\d+$/.test(token) && token !== "-0") ? token : JSON.stringify(Number(token)),
  );
}
