import { expect, test } from "vitest";
import type { Document } from "./document-store.ts";
import { createLoaders } from "./loaders.ts";

const MIB = 1024 * 1024;
const document = (id: string, size: number): Document => ({
  id,
  title: id,
  contentType: "text/plain",
  size,
  digest: "",
  tags: [],
  metadata: null,
  toolId: null,
  uploadedById: null,
  createdAt: 0,
  updatedAt: 0,
});

function loadersOverReads(reads: string[][]) {
  const unused = () => Promise.reject(new Error("not part of this test"));
  return createLoaders({
    insert: unused,
    update: unused,
    delete: unused,
    pagesOfTools: unused,
    countsOfTools: unused,
    page: () => ({ rows: unused, totalCount: unused }),
    search: () => ({ rows: unused, totalCount: unused }),
    close: unused,
    findByIds: unused,
    contentsOf: async (ids) => {
      reads.push([...ids]);
      return ids.filter((id) => id !== "gone").map((id) => ({ id, content: `content of ${id}` }));
    },
  });
}

test("contents are read in one batch, each once", async () => {
  const reads: string[][] = [];
  const { content } = loadersOverReads(reads);
  const [a, b] = [document("a", 1), document("b", 2)];
  expect(await Promise.all([content.load(a), content.load(b), content.load({ ...a })])).toEqual([
    "content of a",
    "content of b",
    "content of a",
  ]);
  expect(reads).toEqual([["a", "b"]]);
});

test("one operation reads at most 10 MiB of contents, also over several batches", async () => {
  const reads: string[][] = [];
  const { content } = loadersOverReads(reads);
  await content.load(document("first", 6 * MIB));
  const rest = await Promise.allSettled([content.load(document("small", 4 * MIB)), content.load(document("over", 1))]);
  expect(rest).toMatchObject([
    { status: "fulfilled", value: "content of small" },
    { status: "rejected", reason: { code: "BAD_USER_INPUT", message: expect.stringContaining("fewer documents") } },
  ]);
  expect(reads).toEqual([["first"], ["small"]]);
});

test("a document that was deleted meanwhile is an error of its own", async () => {
  const { content } = loadersOverReads([]);
  await expect(content.load(document("gone", 1))).rejects.toMatchObject({ code: "NOT_FOUND" });
});
