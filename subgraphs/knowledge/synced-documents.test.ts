import { createServiceCaller, newId } from "@toolyard/service-kit";
import { codeOf, dataOf } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UPDATE, admin, createKnowledgeFixture, developer, type KnowledgeFixture } from "./fixtures/subgraph.ts";

const tools = createServiceCaller("tools", ["internal:sync-documents"]);
const STORE = `mutation ($input: SyncedDocumentInput!) {
  storeSyncedDocument(input: $input) { id title content contentType tags metadata toolId uploadedById } }`;
const REMOVE = "mutation ($id: ID!, $toolId: ID!) { removeSyncedDocument(id: $id, toolId: $toolId) }";

let fixture: KnowledgeFixture;
beforeAll(async () => {
  fixture = await createKnowledgeFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const inputOf = (more: object = {}) => ({
  id: newId(),
  toolId: newId(),
  uploadedById: developer.userId,
  title: "docs/a.md",
  content: "# A",
  contentType: "text/markdown",
  metadata: { path: "docs/a.md" },
  ...more,
});
const store = (input: object) => dataOf(fixture.subgraph, STORE, { input }, tools);

test("a file is stored under the id that is asked for, and is its tool's author's to change", async () => {
  const { id, ...fields } = inputOf();
  expect(await store({ id, ...fields })).toEqual({ storeSyncedDocument: { id, ...fields, tags: [] } });
  await dataOf(fixture.subgraph, UPDATE, { id, input: { title: "Mine", tags: ["mine"] } }, developer);
  const again = await store({ id, ...fields, content: "# B", uploadedById: "another" });
  const kept = { title: "Mine", tags: ["mine"], uploadedById: developer.userId };
  expect(again).toMatchObject({ storeSyncedDocument: { id, content: "# B", ...kept } });
});

test("a document that is about another tool is neither changed nor removed", async () => {
  const input = inputOf();
  await store(input);
  const toolId = newId();
  expect(await codeOf(fixture.subgraph, STORE, { input: { ...input, toolId } }, tools)).toBe("CONFLICT");
  const remove = (of: string) => dataOf(fixture.subgraph, REMOVE, { id: input.id, toolId: of }, tools);
  expect(await remove(toolId)).toEqual({ removeSyncedDocument: false });
  expect(await remove(input.toolId)).toEqual({ removeSyncedDocument: true });
  expect(await remove(input.toolId)).toEqual({ removeSyncedDocument: false });
});

test("nobody but the tools subgraph may", async () => {
  const input = inputOf();
  expect(await codeOf(fixture.subgraph, STORE, { input }, admin)).toBe("FORBIDDEN");
  expect(await codeOf(fixture.subgraph, REMOVE, { id: input.id, toolId: input.toolId }, admin)).toBe("FORBIDDEN");
});
