import fc from "fast-check";
import { expect, test } from "vitest";
import { isId } from "./json-rpc.ts";
import { createLongMessage } from "./long-message.ts";

const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });

function read(text: string, sizes: readonly number[]) {
  const bytes = Buffer.from(text);
  const message = createLongMessage();
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const size = sizes[n % sizes.length] ?? 1;
    message.see(bytes.subarray(at, at + size));
    at += size;
  }
  return { id: message.id, hasMethod: message.hasMethod };
}

test("the id of a message and whether it asks are found wherever they stand, however it is cut", () => {
  const id = fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 40 }),
    fc.integer(),
    fc.constantFrom(null, 1.5, true, {}, ["id"]),
  );
  const field = fc.oneof(
    fc.tuple(fc.constant("id"), id),
    fc.tuple(fc.constantFrom("result", "error", "params", "méthode", "idx", '"id"', "\\"), fc.jsonValue()),
    fc.tuple(
      fc.constantFrom("result", "params"),
      fc.constantFrom({ id: 7 }, [{ id: 8, method: "m" }], '"id":9,', "\\"),
    ),
    fc.tuple(fc.constant("method"), fc.constant("tools/list")),
    fc.tuple(fc.constant("jsonrpc"), fc.constant("2.0")),
  );
  const fields = fc.uniqueArray(field, { selector: ([name]) => name });
  fc.assert(
    fc.property(fields, fc.constantFrom(undefined, 1, "\t"), cuts, (given, indent, sizes) => {
      const message = Object.fromEntries(given) as Record<string, unknown>;
      const text = JSON.stringify(message, null, indent).replaceAll("\n", " ");
      expect(read(text, sizes)).toEqual({
        id: isId(message.id) ? message.id : null,
        hasMethod: message.method !== undefined,
      });
    }),
    { numRuns: 1_000 },
  );
});

test("whatever is no message is read to its end without an error", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("{", "}", "[", "]", '"', "\\", ":", ",", "id", "1", " ") }),
      cuts,
      (text, sizes) => {
        read(text, sizes);
      },
    ),
  );
});
