import fc from "fast-check";
import { expect, test } from "vitest";
import { wholeBody } from "../calls/request-body.ts";
import { readClient } from "./client-info.ts";

const read = (message: unknown, isInitialize = false) =>
  readClient(wholeBody(Buffer.from(JSON.stringify(message))), isInitialize);
const label = fc.stringMatching(/^[A-Za-z0-9 @/._-]{1,40}$/);
const noise = fc.jsonValue({ maxDepth: 2 });

test("a client is read from an initialize and from an envelope, wherever its members stand", () => {
  fc.assert(
    fc.property(label, label, noise, noise, fc.boolean(), (name, version, before, after, isFirst) => {
      const info = { title: after, name, icons: [{ src: '"}' }], version };
      const initialize = { method: "initialize", params: { capabilities: before, clientInfo: info, z: "}" } };
      expect(read(initialize, true)).toEqual({ name, version });
      const _meta = { a: before, "io.modelcontextprotocol/clientInfo": info, progressToken: 1 };
      const args = { arguments: { before, text: "x".repeat(100_000) } };
      const params = isFirst ? { _meta, ...args } : { ...args, _meta };
      expect(read({ jsonrpc: "2.0", id: 1, method: "tools/call", params })).toEqual({ name, version });
    }),
    { numRuns: 50 },
  );
});

test("anything else is no client, and none fails", () => {
  fc.assert(
    fc.property(noise, noise, (some, info) => {
      const isOne = typeof info === "object" && info !== null && "name" in info;
      fc.pre(!isOne);
      expect(read({ params: { some } })).toBeNull();
      expect(read({ params: { _meta: { "io.modelcontextprotocol/clientInfo": info } } })).toBeNull();
    }),
  );
  const key = '"io.modelcontextprotocol/clientInfo"';
  for (const text of ["", key, `${key}:{`, `${key}:{"name":"a"`, `${key} : {"name":"a\\`, `${key}:{"name":""}`])
    expect(readClient(wholeBody(Buffer.from(text)), false)).toBeNull();
  expect(readClient(wholeBody(null), false)).toBeNull();
});

test("labels are short, and have nothing that is not printed", () => {
  const name = `${'\u0000\n"\\\u202e'}${"x".repeat(500)}`;
  const client = read({ params: { clientInfo: { name, version: 7 } } }, true);
  expect(client).toEqual({ name: `${"\uFFFD".repeat(5)}${"x".repeat(91)}`, version: "" });
});
