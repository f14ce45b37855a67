import { createHash } from "node:crypto";
import { createServiceCaller, type Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  DELETE,
  UPDATE,
  UPLOAD,
  admin,
  createKnowledgeFixture,
  developer,
  otherDeveloper,
  search,
  upload,
  viewer,
  type KnowledgeFixture,
  type UploadedDocument,
} from "./fixtures/subgraph.ts";

let fixture: KnowledgeFixture;
beforeAll(async () => {
  fixture = await createKnowledgeFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const note = (extra: Record<string, unknown> = {}) => ({ title: "Note", content: "Some text", ...extra });
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const base64 = (text: string) => Buffer.from(text).toString("base64");

async function update(id: string, input: Record<string, unknown>): Promise<UploadedDocument> {
  const data = await dataOf<{ updateDocument: UploadedDocument }>(fixture.subgraph, UPDATE, { id, input }, developer);
  return data.updateDocument;
}

async function problemsOf(input: Record<string, unknown>): Promise<unknown> {
  const { errors } = await executeOn(fixture.subgraph, UPLOAD, { input: note(input) }, developer);
  expect(errors[0]?.code ?? "no error").toBe("BAD_USER_INPUT");
  return errors[0]?.extensions.problems;
}

describe("uploading a document", () => {
  test("answers it as it was given, with the size and digest of its bytes", async () => {
    const content = "Größe 🙂\r\n\ttext";
    const document = await upload(
      fixture.subgraph,
      note({ content, tags: ["a", "b", "a"], metadata: { page: [1, null] }, toolId: "tool-1" }),
    );
    expect(document).toMatchObject({
      title: "Note",
      content,
      contentType: "text/plain",
      size: Buffer.byteLength(content),
      digest: sha256(content),
      tags: ["a", "b"],
      metadata: { page: [1, null] },
      toolId: "tool-1",
    });
    const query = `query ($id: ID!) { document(id: $id) { content tool { id } uploadedBy { id } uploadedById } }`;
    expect(await dataOf(fixture.subgraph, query, { id: document.id }, viewer)).toEqual({
      document: {
        content,
        tool: { id: "tool-1" },
        uploadedBy: { id: developer.userId },
        uploadedById: developer.userId,
      },
    });
  });

  test("asks the graph for the tool as the caller, and refuses what is not there", async () => {
    fixture.asked.length = 0;
    await upload(fixture.subgraph, note({ toolId: "tool-1" }));
    expect(fixture.asked).toMatchObject([{ as: { userId: developer.userId }, variables: { id: "tool-1" } }]);
    expect(await problemsOf({ toolId: "nowhere" })).toMatchObject([{ path: "input.toolId" }]);
    expect(await problemsOf({ toolId: "tool-deleted" })).toMatchObject([{ path: "input.toolId" }]);
  });

  test("takes base64 of UTF-8, with line breaks too", async () => {
    const content = "\ufeffContent: äöü\n";
    const encoded = base64(content);
    const lines = `${encoded.slice(0, 8)}\r\n${encoded.slice(8)}\n`;
    const document = await upload(fixture.subgraph, note({ content: lines, encoding: "BASE64" }));
    expect(document).toMatchObject({ content, size: Buffer.byteLength(content), digest: sha256(content) });
  });

  test.each(["text/markdown", "text/html", "application/json", "application/yaml", "text/yaml", "text/plain"])(
    "takes %s, with parameters and in capitals",
    async (type) => {
      const content = type === "application/json" ? '{"a": [1]}' : "# <b>text</b>";
      const contentType = `${type.toUpperCase()}; charset=UTF-8`;
      expect(await upload(fixture.subgraph, note({ content, contentType }))).toMatchObject({
        content,
        contentType: type,
      });
    },
  );

  test.each([
    ["an empty title", { title: "  " }, "input.title"],
    ["a title of two lines", { title: "a\nb" }, "input.title"],
    ["a long title", { title: "a".repeat(201) }, "input.title"],
    ["too many tags", { tags: Array.from({ length: 33 }, (_, n) => `t${n}`) }, "input.tags"],
    ["an empty tag", { tags: ["ok", ""] }, "input.tags.1"],
    ["much metadata", { metadata: { text: "a".repeat(20_000) } }, "input.metadata"],
    ["an unknown type", { contentType: "image/png" }, "input.contentType"],
    ["another charset", { contentType: "text/plain; charset=latin1" }, "input.contentType"],
    ["what is no base64", { encoding: "BASE64", content: "a%b" }, "input.content"],
    [
      "bytes that are no UTF-8",
      { encoding: "BASE64", content: Buffer.from([0xc3, 0x28]).toString("base64") },
      "input.content",
    ],
    ["binary", { encoding: "BASE64", content: Buffer.from("a\0b").toString("base64") }, "input.content"],
    ["half a character", { content: "\ud800" }, "input.content"],
    ["JSON that is none", { contentType: "application/json", content: "{a: 1}" }, "input.content"],
  ])("refuses %s where it stands", async (_what, input, path) => {
    expect(await problemsOf(input)).toMatchObject([{ path }]);
  });

  test("takes 5 MiB of content, decoded, and refuses a byte more with the limit", async () => {
    const limit = 5 * 1024 * 1024;
    const full = "word ".repeat(limit / 5 + 1).slice(0, limit);
    expect((await upload(fixture.subgraph, note({ content: full }))).size).toBe(limit);
    expect((await upload(fixture.subgraph, note({ content: base64(full), encoding: "BASE64" }))).size).toBe(limit);
    const limitNamed = [{ path: "input.content", message: expect.stringContaining("5242880") }];
    expect(await problemsOf({ content: `${full}!` })).toMatchObject(limitNamed);
    expect(await problemsOf({ content: base64(`${full}!`), encoding: "BASE64" })).toMatchObject(limitNamed);
    expect(await problemsOf({ content: full.slice(0, limit - 1) + "ä" })).toMatchObject(limitNamed);
    expect(await problemsOf({ content: full.repeat(3) })).toMatchObject(limitNamed);
  });

  test("says that PDF is not part of this version", async () => {
    const input = note({ contentType: "application/pdf", encoding: "BASE64", content: base64("%PDF-1.7") });
    const { errors } = await executeOn(fixture.subgraph, UPLOAD, { input }, developer);
    expect(errors).toMatchObject([
      { code: "PRECONDITION_FAILED", message: expect.stringContaining("not part of this version") },
    ]);
  });

  test("is refused to those who may not", async () => {
    const as = (caller?: Caller) => codeOf(fixture.subgraph, UPLOAD, { input: note() }, caller);
    expect(await as()).toBe("UNAUTHENTICATED");
    expect(await as(viewer)).toBe("FORBIDDEN");
    expect(await as(createServiceCaller("proxy", []))).toBe("FORBIDDEN");
  });
});

describe("changing a document", () => {
  test("keeps what is left out, and can be found by what it says now only", async () => {
    const { id, digest } = await upload(
      fixture.subgraph,
      note({ title: "Aardvark", content: "burrow", tags: ["x"], metadata: { a: 1 }, toolId: "tool-1" }),
    );
    expect(await update(id, { title: "Badger" })).toMatchObject({
      title: "Badger",
      content: "burrow",
      digest,
      tags: ["x"],
      metadata: { a: 1 },
      toolId: "tool-1",
    });
    expect((await search(fixture.subgraph, { query: "aardvark" })).totalCount).toBe(0);
    expect((await search(fixture.subgraph, { query: "badger burrow" })).totalCount).toBe(1);
    expect(await update(id, { content: "sett", tags: [], metadata: null, toolId: null })).toMatchObject({
      content: "sett",
      digest: sha256("sett"),
      size: 4,
      tags: [],
      metadata: null,
      toolId: null,
    });
    expect((await search(fixture.subgraph, { query: "burrow" })).totalCount).toBe(0);
    expect((await search(fixture.subgraph, { query: "sett" })).totalCount).toBe(1);
    expect(await update(id, { toolId: "tool-2", title: null, content: null })).toMatchObject({
      title: "Badger",
      content: "sett",
      toolId: "tool-2",
    });
  });

  test("to another type reads its content anew, and refuses what is not of that type", async () => {
    const { id } = await upload(fixture.subgraph, note({ content: "<p>zeb<b>ra</b></p>" }));
    expect((await search(fixture.subgraph, { query: "zebra" })).totalCount).toBe(0);
    expect(await update(id, { contentType: "text/html" })).toMatchObject({
      contentType: "text/html",
      content: "<p>zeb<b>ra</b></p>",
    });
    expect((await search(fixture.subgraph, { query: "zebra" })).totalCount).toBe(1);
    const variables = { id, input: { contentType: "application/json", title: "Not this" } };
    expect(await codeOf(fixture.subgraph, UPDATE, variables, developer)).toBe("BAD_USER_INPUT");
    expect(
      await dataOf(fixture.subgraph, `query ($id: ID!) { document(id: $id) { title contentType } }`, { id }, viewer),
    ).toEqual({
      document: { title: "Note", contentType: "text/html" },
    });
    expect(await update(id, { contentType: "text/plain" })).toMatchObject({ content: "<p>zeb<b>ra</b></p>" });
    expect((await search(fixture.subgraph, { query: "zebra" })).totalCount).toBe(0);
  });

  test("beside a tool is for its author and those whom it is shared with for that, as is writing others there", async () => {
    const outcomes = async (caller: Caller) => {
      const { id } = await upload(fixture.subgraph, note({ toolId: "tool-1" }), admin);
      const codes = [
        await codeOf(fixture.subgraph, UPLOAD, { input: note({ toolId: "tool-1" }) }, caller),
        await codeOf(fixture.subgraph, UPDATE, { id, input: { toolId: "tool-2" } }, caller),
        await codeOf(fixture.subgraph, UPDATE, { id, input: {} }, caller),
        await codeOf(fixture.subgraph, DELETE, { id }, caller),
      ];
      return codes.map((code) => code ?? "done");
    };
    const none = ["FORBIDDEN", "FORBIDDEN", "FORBIDDEN", "FORBIDDEN"];
    expect(await outcomes(developer)).toEqual(["done", "done", "done", "done"]);
    for (const [access, expected] of [
      [null, none],
      ["VIEW", none],
      ["USE", none],
      // Not beside another tool.
      ["EDIT", ["done", "FORBIDDEN", "done", "done"]],
    ] as const) {
      for (const { userId } of [otherDeveloper, viewer])
        if (access !== null) fixture.shared.set(`tool-1 ${userId ?? ""}`, access);
      expect(await outcomes(otherDeveloper), String(access)).toEqual(expected);
      expect(await outcomes(viewer), String(access)).toEqual(none);
    }
    fixture.shared.clear();
  });

  test("is for its uploader and administrators", async () => {
    const { id } = await upload(fixture.subgraph, note());
    for (const mutation of [UPDATE, DELETE]) {
      const as = (caller?: Caller, documentId = id) =>
        codeOf(fixture.subgraph, mutation, { id: documentId, input: {} }, caller);
      expect(await as()).toBe("UNAUTHENTICATED");
      expect(await as(viewer)).toBe("FORBIDDEN");
      expect(await as(otherDeveloper)).toBe("FORBIDDEN");
      expect(await as(developer, "nowhere")).toBe("NOT_FOUND");
      expect(await as(admin)).toBeNull();
    }
  });
});

describe("deleting a document", () => {
  test("leaves nothing of it to find", async () => {
    const { id } = await upload(fixture.subgraph, note({ content: "quokka", tags: ["gone"], toolId: "tool-2" }));
    expect(await dataOf(fixture.subgraph, DELETE, { id }, developer)).toEqual({ deleteDocument: true });
    expect(await dataOf(fixture.subgraph, `query ($id: ID!) { document(id: $id) { id } }`, { id }, viewer)).toEqual({
      document: null,
    });
    expect((await search(fixture.subgraph, { query: "quokka" })).totalCount).toBe(0);
    expect((await search(fixture.subgraph, { query: "quok*" })).totalCount).toBe(0);
    expect(await dataOf(fixture.subgraph, `{ documents(tag: "gone") { totalCount } }`, {}, viewer)).toEqual({
      documents: { totalCount: 0 },
    });
    expect(await codeOf(fixture.subgraph, DELETE, { id }, developer)).toBe("NOT_FOUND");
  });
});

describe("reading documents", () => {
  test("lists newest first, by tool and by tag, in pages; also from the tool", async () => {
    for (const title of ["One", "Two", "Three"]) {
      await upload(fixture.subgraph, note({ title, tags: ["list", title], toolId: title === "Two" ? null : "tool-2" }));
    }
    const query = `query ($first: Int, $after: String, $offset: Int, $toolId: ID, $tag: String) {
      documents(first: $first, after: $after, offset: $offset, toolId: $toolId, tag: $tag) { totalCount pageInfo { hasNextPage endCursor } edges { node { title } } } }`;
    type Answer = {
      documents: {
        totalCount: number;
        pageInfo: { hasNextPage: boolean; endCursor: string };
        edges: { node: { title: string } }[];
      };
    };
    const list = async (variables: Record<string, unknown>) => {
      const { documents } = await dataOf<Answer>(fixture.subgraph, query, variables, viewer);
      return { ...documents, titles: documents.edges.map(({ node }) => node.title) };
    };
    const first = await list({ tag: "list", first: 2 });
    expect(first).toMatchObject({ totalCount: 3, titles: ["Three", "Two"], pageInfo: { hasNextPage: true } });
    expect(await list({ tag: "list", first: 2, after: first.pageInfo.endCursor })).toMatchObject({
      titles: ["One"],
      pageInfo: { hasNextPage: false },
    });
    expect((await list({ tag: "list", offset: 1 })).titles).toEqual(["Two", "One"]);
    expect((await list({ tag: "list", toolId: "tool-2" })).titles).toEqual(["Three", "One"]);
    expect(await codeOf(fixture.subgraph, query, { first: 0 }, viewer)).toBe("BAD_USER_INPUT");
    expect(await codeOf(fixture.subgraph, query)).toBe("UNAUTHENTICATED");

    const entities = `query ($r: [_Any!]!) { _entities(representations: $r) { ... on Tool { id documents(first: 1) { edges { node { title } } } } ... on Document { title } } }`;
    const r = [
      { __typename: "Tool", id: "tool-2" },
      { __typename: "Tool", id: "tool-without" },
      { __typename: "Document", id: "nowhere" },
    ];
    expect((await dataOf(fixture.subgraph, entities, { r }, viewer))._entities).toEqual([
      { id: "tool-2", documents: { edges: [{ node: { title: "Three" } }] } },
      { id: "tool-without", documents: { edges: [] } },
      null,
    ]);
    expect(await codeOf(fixture.subgraph, entities, { r: r.slice(2) })).toBe("UNAUTHENTICATED");
  });

  test("survives a restart, and so does the index", async () => {
    const { id } = await upload(fixture.subgraph, note({ content: "permanence" }));
    await fixture.reopen();
    expect((await search(fixture.subgraph, { query: "permanence" })).hits[0]?.document.id).toBe(id);
  });

  test("says that its store is well", async () => {
    expect(await fixture.subgraph.health()).toMatchObject([{ name: "sqlite", status: "healthy" }]);
  });
});
