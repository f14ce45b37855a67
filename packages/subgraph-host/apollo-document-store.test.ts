import { parse } from "graphql";
import { expect, test } from "vitest";
import { bytesOfDocument } from "@toolyard/service-kit/graph/document-cache.ts";
import { createDocumentStore } from "./apollo-document-store.ts";

test("documents are kept as long as there is room for what they take in memory", async () => {
  const textOf = (index: number) => `{ a${String(index).padStart(4, "0")} ${"b ".repeat(500)}}`;
  const store = createDocumentStore({ maxBytes: 20 * bytesOfDocument(textOf(0).length) });
  for (let index = 0; index < 100; index += 1) await store.set(`hash ${index}`, parse(textOf(index)));
  const kept = [];
  for (let index = 0; index < 100; index += 1) if (await store.get(`hash ${index}`)) kept.push(index);
  expect(kept).toEqual(Array.from({ length: 20 }, (_, index) => 80 + index));
});

test("one that would take much of the room is not kept, and pushes out nothing", async () => {
  const store = createDocumentStore({ maxBytes: 1_000_000 });
  await store.set("small", parse("{ a }"));
  await store.set("large", parse(`{ ${"a ".repeat(1_000)}}`));
  expect(await store.get("large")).toBeUndefined();
  expect(await store.get("small")).toBeDefined();
});
