import {
  classifyInboundRequest,
  createMcpHandler,
  McpServer,
  SUPPORTED_PROTOCOL_VERSIONS,
} from "@modelcontextprotocol/server";
import fc from "fast-check";
import { expect, test } from "vitest";

import { checkStateless, classify, type RequestHeaders, SESSION_VERSIONS, STATELESS_VERSION } from "./era.ts";

/** Our own classification is held to the official SDK's: same era, same status and code for what is refused. */

const version = fc.constantFrom(
  undefined,
  "2026-07-28",
  "2026-07-28",
  "2026-07-28",
  "2025-11-25",
  "2025-03-26",
  "2027-01-01",
  " 2026-07-28 ",
  "",
);
const method = fc.constantFrom(
  "tools/call",
  "tools/list",
  "resources/read",
  "initialize",
  "server/discover",
  "custom/x",
  "notifications/cancelled",
);
const envelope = fc.record(
  {
    "io.modelcontextprotocol/protocolVersion": fc.constantFrom<unknown>("2026-07-28", "2025-11-25", "2027-01-01", 7),
    "io.modelcontextprotocol/clientCapabilities": fc.constantFrom<unknown>(
      {},
      { sampling: {}, elicitation: {} },
      { roots: "yes" },
      "none",
    ),
    "io.modelcontextprotocol/clientInfo": fc.constantFrom<unknown>({ name: "a", version: "1" }, { name: "a" }, 3),
    "io.modelcontextprotocol/logLevel": fc.constantFrom<unknown>("info", "loud"),
    progressToken: fc.constantFrom<unknown>(1, "t", 1.5, {}),
  },
  { requiredKeys: [] },
);
const params = fc.record(
  {
    name: fc.constantFrom<unknown>("echo", "other", 5),
    uri: fc.constant("test://x"),
    _meta: fc.oneof(envelope, fc.constant("x")),
  },
  { requiredKeys: [] },
);
const message = fc.record(
  {
    jsonrpc: fc.constantFrom<unknown>("2.0", "1.0"),
    id: fc.constantFrom<unknown>(1, "a", null, 1.5),
    method,
    params,
    result: fc.constant({}),
    error: fc.constantFrom<unknown>({ code: -1, message: "m" }, {}),
  },
  { requiredKeys: ["jsonrpc"] },
);
const request = fc.record({ jsonrpc: fc.constant("2.0"), id: fc.constantFrom(1, "a"), method, params });
const claiming = fc.record({
  jsonrpc: fc.constant("2.0"),
  id: fc.constantFrom(1, "a"),
  method,
  params: fc.record(
    {
      name: fc.constantFrom<unknown>("echo", "other", 5),
      uri: fc.constantFrom("test://x", "echo"),
      _meta: fc.constantFrom("2026-07-28", "2027-01-01").map((claimed) => ({
        "io.modelcontextprotocol/protocolVersion": claimed,
        "io.modelcontextprotocol/clientCapabilities": {},
      })),
    },
    { requiredKeys: ["_meta"] },
  ),
});
const body = fc.oneof(
  { weight: 3, arbitrary: request },
  message,
  fc.array(message, { maxLength: 3 }),
  fc.constantFrom<unknown>(null, 1, "x"),
);
const headers: fc.Arbitrary<RequestHeaders> = fc.record({
  protocolVersion: version,
  method: fc.option(method, { nil: undefined }),
  name: fc.constantFrom(undefined, "echo", "=?base64?ZWNobw==?=", "=?base64?!?=", " echo "),
});

/** Messages with members of several kinds are nonsense that the two sides may read differently; nobody sends them. */
function ambiguous(value: unknown): boolean {
  const items = Array.isArray(value) ? value : [value];
  return items.some((item) => {
    if (typeof item !== "object" || item === null) return false;
    const kinds = ["method", "result", "error"].filter((key) => key in item);
    return (
      kinds.length > 1 ||
      (!("method" in item) && "params" in item) ||
      ("method" in item && "id" in item && item.id === null)
    );
  });
}

test("a client's error that answers nothing is refused", () => {
  const value = { jsonrpc: "2.0", id: null, error: { code: -1, message: "m" } };
  const ours = classify(value, { protocolVersion: undefined, method: undefined, name: undefined });
  expect(ours).toMatchObject({ era: "refused", status: 400, code: -32600 });
});

test("a request is classified as the SDK classifies it", () => {
  fc.assert(
    fc.property(body, headers, (value, given) => {
      fc.pre(!ambiguous(value));
      const theirs = classifyInboundRequest({
        httpMethod: "POST",
        ...(given.protocolVersion === undefined ? {} : { protocolVersionHeader: given.protocolVersion }),
        ...(given.method === undefined ? {} : { mcpMethodHeader: given.method }),
        ...(given.name === undefined ? {} : { mcpNameHeader: given.name }),
        body: value,
      });
      const ours = classify(value, given);
      const seen =
        theirs.kind === "reject"
          ? { era: "refused", status: theirs.httpStatus, code: theirs.code }
          : { era: theirs.kind === "modern" ? "stateless" : "session" };
      expect(
        ours.era === "refused" ? { era: ours.era, status: ours.status, code: ours.code } : { era: ours.era },
      ).toEqual(seen);
    }),
    { numRuns: 3_000 },
  );
});

test("the headers of a stateless request are checked as the SDK's handler checks them", async () => {
  const handler = createMcpHandler(() => new McpServer({ name: "reference", version: "1" }), { legacy: "reject" });
  await fc.assert(
    fc.asyncProperty(claiming, headers, async (value, given) => {
      const ours = classify(value, given);
      if (ours.era !== "stateless") return;
      const refused = checkStateless(ours.message, given);
      const response = await handler.fetch(
        new Request("http://localhost/mcp", {
          method: "POST",
          headers: {
            "content-type": "application/json",
            accept: "application/json, text/event-stream",
            ...(given.protocolVersion === undefined ? {} : { "mcp-protocol-version": given.protocolVersion }),
            ...(given.method === undefined ? {} : { "mcp-method": given.method }),
            ...(given.name === undefined ? {} : { "mcp-name": given.name }),
          },
          body: JSON.stringify(value),
        }),
      );
      // What the SDK answers to the rest (unknown tool, unknown method) is not the headers' matter.
      const theirs = (await response.json()) as { error?: { code: number } };
      const header = [-32020, -32022].includes(theirs.error?.code ?? 0) ? theirs.error?.code : null;
      expect(refused?.code ?? null).toBe(header);
    }),
    { numRuns: 300 },
  );
  await handler.close();
});

test("the versions served are those of the SDK", () => {
  expect([...SESSION_VERSIONS].sort()).toEqual(
    [...SUPPORTED_PROTOCOL_VERSIONS].filter((known) => known < STATELESS_VERSION).sort(),
  );
});
