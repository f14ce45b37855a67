import fc from "fast-check";
import { expect, test } from "vitest";
import { peekJsonRpc } from "./json-rpc-peek.ts";

const params = fc.dictionary(
  fc.constantFrom("name", "arguments", "x", "method", 'q"uote'),
  fc.jsonValue({ maxDepth: 3 }),
);
const message = fc.dictionary(
  fc.constantFrom("jsonrpc", "id", "method", "params", "result", "name", "\\"),
  fc.oneof(fc.jsonValue({ maxDepth: 3 }), params, fc.constantFrom("tools/call", 'a"b\\', "ü\n")),
);
const asString = (value: unknown) => (typeof value === "string" ? value : null);

test("finds what JSON.parse finds, however the message is written", () => {
  fc.assert(
    fc.property(message, fc.constantFrom(undefined, 2, "\t"), fc.boolean(), (value, space, batch) => {
      const text = JSON.stringify(batch ? [value] : value, null, space);
      const inner = value.params;
      const isObject = inner !== null && typeof inner === "object" && !Array.isArray(inner);
      expect(peekJsonRpc(text)).toEqual({
        method: asString(value.method),
        name: isObject ? asString((inner as Record<string, unknown>).name) : null,
      });
    }),
    { numRuns: 500 },
  );
});

test("takes any text, cut anywhere, and finds nothing that is not there", () => {
  fc.assert(
    fc.property(message, fc.nat(), fc.string(), (value, cut, junk) => {
      const text = JSON.stringify(value);
      const whole = peekJsonRpc(text);
      const part = peekJsonRpc(text.slice(0, cut % (text.length + 1)));
      expect([null, whole.method]).toContain(part.method);
      expect([null, whole.name]).toContain(part.name);
      expect(() => peekJsonRpc(junk)).not.toThrow();
    }),
  );
});
