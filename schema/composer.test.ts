import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { composeApart } from "./composer.ts";

const subgraphs = [{ name: "a", url: "http://a.test/", sdl: "type Query { a: Int }", origin: null }];

async function children(): Promise<string[]> {
  const listed = await readFile(`/proc/${process.pid}/task/${process.pid}/children`, "utf8");
  return listed.match(/\d+/g) ?? [];
}

test("composes in a process that is gone afterwards", async () => {
  const before = await children();
  expect(await composeApart(subgraphs)).toMatchObject({ supergraphSdl: expect.stringContaining("http://a.test/") });
  expect(await composeApart([{ ...subgraphs[0]!, sdl: "type Query {" }])).toMatchObject({
    errors: [{ code: "INVALID_GRAPHQL" }],
  });
  expect(await children()).toEqual(before);
});

test("leaves no process behind when it is given up, takes too long or dies", async () => {
  const before = await children();
  const gone = new AbortController();
  const composing = composeApart(subgraphs, { signal: gone.signal });
  gone.abort(new Error("no longer wanted"));
  await expect(composing).rejects.toThrow("no longer wanted");
  await expect(composeApart(subgraphs, { signal: gone.signal })).rejects.toThrow("no longer wanted");
  await expect(composeApart(subgraphs, { timeoutMs: 1 })).rejects.toMatchObject({ code: "TIMEOUT" });
  await expect(composeApart(subgraphs, { maxHeapMb: 1 })).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
  expect(await children()).toEqual(before);
});
