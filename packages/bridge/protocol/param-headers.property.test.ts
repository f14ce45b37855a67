import { createMcpHandler, fromJsonSchema, McpServer } from "@modelcontextprotocol/server";
import fc from "fast-check";
import { expect, test } from "vitest";

import { findParamMismatch, headerDeclarations } from "./param-headers.ts";

/** The bridge's check of `Mcp-Param-*` headers is held to the official SDK's handler. */

const leaf = fc.record(
  {
    type: fc.constantFrom("string", "integer", "boolean", "number", "object"),
    "x-mcp-header": fc.constantFrom<unknown>("Region", "region", "Size", "not a token", "", 7),
  },
  { requiredKeys: ["type"] },
);
const { schema } = fc.letrec<{ schema: Record<string, unknown> }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3 },
    leaf,
    fc.record(
      {
        type: fc.constant("object"),
        properties: fc.dictionary(fc.constantFrom("a", "b", "c"), tie("schema"), { maxKeys: 3 }),
        anyOf: fc.array(tie("schema"), { minLength: 1, maxLength: 1 }),
        items: tie("schema"),
        $defs: fc.dictionary(fc.constantFrom("d"), tie("schema"), { maxKeys: 1 }),
      },
      { requiredKeys: ["type", "properties"] },
    ),
  ),
}));
const inputSchema = fc.record({
  type: fc.constant("object"),
  properties: fc.dictionary(fc.constantFrom("a", "b", "c"), schema, { maxKeys: 3 }),
});
const primitive = fc.constantFrom<unknown>("x", "süd", "42", 42, 4.5, 2 ** 60, true, null, []);
const args = fc.dictionary(
  fc.constantFrom("a", "b", "c"),
  fc.oneof(primitive, fc.dictionary(fc.constantFrom("a", "b", "c"), primitive)),
);
const headerValue = fc.constantFrom(
  "x",
  "42",
  "42.0",
  "4.5",
  "true",
  "=?base64?c8O8ZA==?=",
  "=?base64?c8O8Z?=",
  "=?base64?gA==?=",
);
const headers = fc.dictionary(fc.constantFrom("mcp-param-region", "mcp-param-size"), headerValue);

test("a call's headers are held against its arguments as the SDK's handler does it", async () => {
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(inputSchema, args, headers, async (given, values, said) => {
      const handler = createMcpHandler(
        () => {
          const server = new McpServer({ name: "reference", version: "1" });
          // Whatever the schema says, the arguments are not this test's matter.
          const anything = fromJsonSchema(given, {
            getValidator: () => (value: unknown) => ({ valid: true, data: value, errorMessage: undefined }) as never,
          });
          server.registerTool("tool", { inputSchema: anything }, () => ({ content: [] }));
          return server;
        },
        { legacy: "reject" },
      );
      const response = await handler.fetch(
        new Request("http://localhost/mcp", {
          method: "POST",
          headers: {
            "content-type": "application/json",
            accept: "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "tool",
            ...said,
          },
          body: JSON.stringify({
            jsonrpc: "2.0",
            id: 1,
            method: "tools/call",
            params: {
              name: "tool",
              arguments: values,
              _meta: {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
              },
            },
          }),
        }),
      );
      const theirs = (await response.text()).includes("-32020");
      await handler.close();
      const ours = findParamMismatch(headerDeclarations(given), values, (name) => said[name.toLowerCase()]);
      if (theirs) refused += 1;
      expect(ours !== null).toBe(theirs);
    }),
    { numRuns: 1_000 },
  );
  expect(refused).toBeGreaterThan(0);
});
