import { logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import fc, { type Arbitrary } from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readContract, type OpenApiContract, type Operation } from "./fixtures/openapi-contract.ts";

/* Requests made from the OpenAPI document, as it allows them and as it does not: each is answered as documented, and none with a 500. */

/** 2000 by `REST_FUZZ_REQUESTS=2000 npx vitest run tests/e2e/rest-fuzz.test.ts`. */
const REQUESTS = Number(process.env.REST_FUZZ_REQUESTS ?? 200);
/** They would end the session or start what somebody else wrote. */
const LEFT_OUT = /^(Logout|DeployTool|DeployTemplate)$/;

type Schema = Record<string, unknown>;

let toolyard: RunningToolyard;
let contract: OpenApiContract;
let token: string;
const knownIds: string[] = [];

beforeAll(async () => {
  toolyard = await startToolyard({ env: { RATE_LIMIT_ENABLED: "false" } });
  contract = await readContract(toolyard.url);
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  for (const [path, body] of [
    ["/api/v1/mcps", { name: "Known", description: "", launch: { stdio: { command: "node" } } }],
    ["/api/v1/knowledge/documents", { title: "Known", content: "known" }],
    ["/api/v1/analyze/feasibility", { description: "known", requirements: ["x"] }],
  ] as const) {
    const response = await fetch(toolyard.url + path, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const { id, task_id: taskId } = (await response.json()) as { id?: string; task_id?: string };
    knownIds.push(id ?? taskId ?? "");
  }
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

const anyText = () =>
  fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.string({ maxLength: 300 }),
    fc.constantFrom("", " ", "null", "0", "../..", "__proto__", "\u0000", "\u{1f600}", "a".repeat(5_000), ...knownIds),
  );
const anything = () =>
  fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom<unknown>(null, {}, [], "", -0, 1e308, 2 ** 53, JSON.parse('{"__proto__":{"role":"ADMIN"}}')),
  );

/** Values of a schema, and now and then something else in the place of any. */
function valuesOf(given: Schema, depth = 0): Arbitrary<unknown> {
  const schema = contract.resolve(given) as Schema;
  return fc.oneof(
    { weight: 12, arbitrary: fc.constant(null).chain(() => fitting(schema, depth)) },
    { weight: 1, arbitrary: anything() },
  );
}

function fitting(schema: Schema, depth: number): Arbitrary<unknown> {
  const choices = (schema["anyOf"] ?? schema["oneOf"]) as Schema[] | undefined;
  if (choices) return fc.oneof(...choices.map((one) => valuesOf(one, depth)));
  if (schema["const"] !== undefined) return fc.constant(schema["const"]);
  if (Array.isArray(schema["enum"])) return fc.constantFrom(...(schema["enum"] as unknown[]));
  const types = [schema["type"]].flat();
  return fc.oneof(...types.map((type) => ofType(type, schema, depth)));
}

function ofType(type: unknown, schema: Schema, depth: number): Arbitrary<unknown> {
  switch (type) {
    case "string":
      return schema["format"] === "date-time"
        ? fc
            .date({ noInvalidDate: true, min: new Date("1970-01-01"), max: new Date("9999-12-31") })
            .map((date) => date.toISOString())
        : anyText();
    case "integer":
      return fc.oneof(fc.integer(), fc.integer({ min: -1, max: 101 }));
    case "number":
      return fc.double({ noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return depth > 3 ? fc.constant([]) : fc.array(valuesOf(schema["items"] as Schema, depth + 1), { maxLength: 4 });
    case "object": {
      const properties = (schema["properties"] ?? {}) as Record<string, Schema>;
      const required = (schema["required"] ?? []) as string[];
      const model = Object.fromEntries(
        Object.entries(properties)
          .filter(([name]) => depth <= 3 || required.includes(name))
          .map(([name, property]) => [name, valuesOf(property, depth + 1)]),
      );
      return fc.record(model, { requiredKeys: required });
    }
    default:
      return anything();
  }
}

interface Shot {
  operation: Operation;
  url: string;
  headers: Record<string, string>;
  body: string | undefined;
}

function shots(operation: Operation): Arbitrary<Shot> {
  const of = (place: string) => operation.parameters.filter((one) => one.in === place);
  const valuesIn = (place: string) =>
    fc.record(Object.fromEntries(of(place).map(({ name, schema }) => [name, valuesOf(schema)])), {
      requiredKeys: [],
    });
  const path = fc.record(
    Object.fromEntries(of("path").map(({ name }) => [name, fc.oneof(anyText(), fc.constantFrom(...knownIds))])),
  );
  const body =
    operation.body === null ? fc.constant(undefined) : valuesOf(operation.body).map((value) => JSON.stringify(value));
  return fc
    .record({ path, query: valuesIn("query"), headers: valuesIn("header"), body, hasToken: fc.nat(9) })
    .map(({ path: names, query, headers, body: text, hasToken }) => {
      const filled = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(String(names[name])));
      const search = new URLSearchParams(
        Object.entries(query).map(([name, value]): [string, string] => [name, asText(value)]),
      );
      return {
        operation,
        url: `${filled}?${search.toString()}`,
        body: text,
        headers: {
          ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, asHeader(value)])),
          ...(hasToken > 0 && { authorization: `Bearer ${token}` }),
          ...(text !== undefined && { "content-type": "application/json" }),
        },
      };
    });
}

const asText = (value: unknown) => (typeof value === "string" ? value.toWellFormed() : JSON.stringify(value));
const asHeader = (value: unknown) =>
  asText(value)
    .replace(/[^\x21-\x7e]/g, "-")
    .slice(0, 300);
/** A segment that is not empty and that clients do not take for a step up; another name would be another route. */
const inPath = (name: string) => encodeURIComponent(/^\.{0,2}$/.test(name) ? "-" : name.toWellFormed().slice(0, 1_000));

test(
  `${REQUESTS} requests made from the OpenAPI document are answered as documented`,
  { timeout: 600_000 },
  async () => {
    const operations = contract.operations.filter(({ id }) => !LEFT_OUT.test(id));
    const seen = new Map<number, number>();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...operations).chain(shots), async ({ operation, url, headers, body }) => {
        const response = await fetch(toolyard.url + url, {
          method: operation.method,
          headers,
          ...(body !== undefined && { body }),
        });
        seen.set(response.status, (seen.get(response.status) ?? 0) + 1);
        expect(response.status, `${operation.id} ${await response.clone().text()}`).not.toBe(500);
        await contract.check(operation, response);
      }),
      { numRuns: REQUESTS, endOnFailure: true },
    );
    // It went further than the door.
    expect([...seen.keys()].filter((status) => status < 300).length).toBeGreaterThan(0);
    expect(await (await fetch(`${toolyard.url}/health/live`)).text()).toBeTruthy();
  },
);
