import { newId, type Page } from "@toolyard/service-kit";
import { everyPage, ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MAX_CONTENT_BYTES, type UploadedContent } from "./content/document-content.ts";
import type { Document, DocumentChange, DocumentFilter, DocumentStore, NewDocument } from "./document-store.ts";
import type { SearchFilter } from "./document-index.ts";
import { parseSearchQuery } from "./search-query.ts";

export interface OpenDocumentStore {
  /** The same store, as two processes have it open. */
  stores: readonly [DocumentStore, DocumentStore];
  close(): Promise<void>;
}

const NOW = 1_700_000_000_123;
const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };
const EVERYTHING: DocumentFilter = { toolId: null, tag: null };
const ALL_OF_THEM: SearchFilter = { toolIds: null, tag: null };

const textOf = (content: string): UploadedContent => ({ content, encoding: "TEXT" });
const documentOf = (more: Partial<NewDocument> = {}): NewDocument => ({
  id: newId(),
  title: "Untitled",
  contentType: "text/plain",
  tags: [],
  metadata: null,
  toolId: null,
  uploadedById: null,
  createdAt: NOW,
  updatedAt: NOW,
  ...more,
});
const idsOf = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
const byId = (one: { id: string }, other: { id: string }) => (one.id < other.id ? -1 : 1);

/** What every adapter of DocumentStore must show. */
export function documentStoreContract(name: string, open: () => Promise<OpenDocumentStore>): void {
  describe(`DocumentStore on ${name}`, () => {
    let opened: OpenDocumentStore;
    let store: DocumentStore;
    beforeAll(async () => {
      opened = await open();
      [store] = opened.stores;
    }, 120_000);
    afterAll(() => opened.close());

    async function insert(content = "", more: Partial<NewDocument> = {}): Promise<Document> {
      const made = await store.insert(documentOf(more), textOf(content), null);
      if ("problem" in made) throw new Error(made.problem);
      return made;
    }
    async function update(id: string, change: DocumentChange, content: string | null = null): Promise<Document> {
      const changed = await store.update(id, change, content === null ? null : textOf(content), null);
      if (changed === null || "problem" in changed) throw new Error(changed?.problem ?? "It is not there.");
      return changed;
    }
    const find = async (id: string) => (await store.findByIds([id]))[0] ?? null;
    const contentOf = async (id: string) => (await store.contentsOf([id]))[0]?.content ?? null;
    const search = (query: string, filter: Partial<SearchFilter> = {}, range = { limit: 100, offset: 0 }) =>
      store.search(parseSearchQuery(query), { ...ALL_OF_THEM, ...filter }, range, null);
    const found = async (query: string, filter: Partial<SearchFilter> = {}) => {
      const { rows, totalCount } = search(query, filter);
      const ids = (await rows()).map(({ documentId }) => documentId).toSorted();
      expect(await totalCount()).toBe(ids.length);
      return ids;
    };
    const listed = (filter: Partial<DocumentFilter>) => store.page({ ...EVERYTHING, ...filter }, FIRST_PAGE).rows();

    testMethods<DocumentStore>({
      insert() {
        test("keeps a document as it is, with the size and the digest of its bytes", async () => {
          const content = `\uFEFF${ODD_TEXTS.join("\r\n")} ${"\u6f22\u{1f600}".repeat(20_000)} `;
          const document = documentOf({
            title: "\u{1f600} %_\\' ",
            contentType: "text/markdown",
            tags: [...ODD_TEXTS],
            metadata: ODD_JSON,
            toolId: "tool",
            uploadedById: "user",
            updatedAt: 253_402_300_799_999,
          });
          const bytes = Buffer.from(content);
          const whole = { ...document, size: bytes.length, digest: createHash("sha256").update(bytes).digest("hex") };
          expect(await store.insert(document, textOf(content), "user")).toEqual(whole);
          const kept = await find(document.id);
          expect(kept).toEqual(whole);
          expect(JSON.stringify(kept?.metadata)).toBe(JSON.stringify(ODD_JSON));
          expect(await contentOf(document.id)).toBe(content);
        });

        test.each([null, {}, [], false, "", 0, "text"])("keeps %j as metadata", async (metadata) => {
          const { id } = await insert("", { metadata });
          expect((await find(id))?.metadata).toEqual(metadata);
        });

        test("takes base64, and content of the largest size", async () => {
          const content = "\u{1f600} ".repeat(Math.floor(MAX_CONTENT_BYTES / 5));
          const document = documentOf();
          const bytes = Buffer.from(content);
          const made = await store.insert(document, { content: bytes.toString("base64"), encoding: "BASE64" }, null);
          expect(made).toMatchObject({ size: bytes.length });
          expect((await contentOf(document.id)) === content).toBe(true);
        });

        test.each<[string, string, UploadedContent]>([
          ["what is not of its type", "application/json", textOf('{"a":')],
          ["what is not in its encoding", "text/plain", { content: "*", encoding: "BASE64" }],
          ["bytes that are no text", "text/plain", { content: "//8=", encoding: "BASE64" }],
          ["NUL", "text/plain", textOf("a\0b")],
          ["too many bytes", "text/plain", textOf("a".repeat(MAX_CONTENT_BYTES + 1))],
        ])("says what is wrong with %s, and writes nothing then", async (_what, contentType, content) => {
          const document = documentOf({ contentType, tags: ["refused"] });
          expect(await store.insert(document, content, null)).toEqual({ problem: expect.any(String) });
          expect(await find(document.id)).toBeNull();
          expect(await listed({ tag: "refused" })).toEqual([]);
        });

        test("leaves nothing of what fails half-way", async () => {
          const { id } = await insert("first");
          await expect(
            store.insert(documentOf({ id, tags: ["halfway"] }), textOf("halfwayword"), null),
          ).rejects.toThrow();
          expect(await contentOf(id)).toBe("first");
          expect(await listed({ tag: "halfway" })).toEqual([]);
          expect(await found("halfwayword")).toEqual([]);
        });

        test("makes documents found at once, by all processes", async () => {
          const { id } = await insert("immediatelyfound");
          for (const each of opened.stores) {
            const { rows } = each.search(
              parseSearchQuery("immediatelyfound"),
              ALL_OF_THEM,
              { limit: 1, offset: 0 },
              null,
            );
            expect((await rows()).map(({ documentId }) => documentId)).toEqual([id]);
          }
        });
      },

      update() {
        test("changes what is given, and leaves the rest", async () => {
          const before = await insert("earliercontent", {
            title: "Earliertitle",
            tags: ["earlier", "both"],
            metadata: { a: 1 },
            toolId: "tool",
          });
          const changed = await update(before.id, { title: "Latertitle", tags: ["both", "later"], updatedAt: NOW + 1 });
          expect(changed).toEqual({ ...before, title: "Latertitle", tags: ["both", "later"], updatedAt: NOW + 1 });
          expect(await find(before.id)).toEqual(changed);
          expect(await contentOf(before.id)).toBe("earliercontent");
          expect(await listed({ tag: "earlier" })).toEqual([]);
          expect(idsOf(await listed({ tag: "later" }))).toEqual([before.id]);
          expect(await found("earliertitle")).toEqual([]);
          for (const word of ["latertitle", "earliercontent"]) expect(await found(word)).toEqual([before.id]);
          const none = await update(before.id, { metadata: null, toolId: null, tags: [] }, "latercontent");
          expect(none).toMatchObject({ title: "Latertitle", metadata: null, toolId: null, tags: [], size: 12 });
          expect(await contentOf(before.id)).toBe("latercontent");
          expect(await found("earliercontent")).toEqual([]);
          expect(await found("latercontent")).toEqual([before.id]);
        });

        test("reads the content anew when its type changes, and keeps all as it was where that does not fit", async () => {
          const content = "<p>markedword</p><!-- unseenword -->";
          const document = await insert(content, { title: "Page" });
          expect(await found("unseenword")).toEqual([document.id]);
          await update(document.id, { contentType: "text/html" });
          expect(await contentOf(document.id)).toBe(content);
          expect(await found("markedword")).toEqual([document.id]);
          expect(await found("unseenword")).toEqual([]);
          const before = await find(document.id);
          const change = { contentType: "application/json", title: "Broken", tags: ["broken"] };
          expect(await store.update(document.id, change, null, null)).toEqual({ problem: expect.any(String) });
          expect(await find(document.id)).toEqual(before);
          expect(await listed({ tag: "broken" })).toEqual([]);
          expect(await contentOf(document.id)).toBe(content);
        });

        test("loses no change of several at once", async () => {
          const { id } = await insert("");
          const changes: DocumentChange[] = [
            { title: "T" },
            { tags: ["t"] },
            { metadata: { m: 1 } },
            { toolId: "of-several" },
          ];
          await Promise.all(
            changes.map((change, n) => opened.stores[n % 2 === 0 ? 0 : 1].update(id, change, null, null)),
          );
          expect(await find(id)).toMatchObject({ title: "T", tags: ["t"], metadata: { m: 1 }, toolId: "of-several" });
        });

        test("answers null where there is no such document", async () => {
          expect(await store.update(newId(), { title: "T" }, textOf("t"), null)).toBeNull();
        });
      },

      delete() {
        test("removes a document with its tags, its content and all by which it is found, once", async () => {
          const { id } = await insert("<b>deletedword</b>", {
            contentType: "text/html",
            tags: ["deleted"],
            toolId: "deleting",
          });
          const answers = await Promise.all([0, 1, 0].map((n) => opened.stores[n === 0 ? 0 : 1].delete(id, null)));
          expect(answers.filter((isMine) => isMine)).toHaveLength(1);
          expect(await find(id)).toBeNull();
          expect(await contentOf(id)).toBeNull();
          expect(await listed({ tag: "deleted" })).toEqual([]);
          expect(await store.countsOfTools(["deleting"])).toEqual([0]);
          expect(await found("deletedword")).toEqual([]);
          expect(await store.delete(id, null)).toBe(false);
          await insert("deletedword again", { id });
          expect(await found("deletedword")).toEqual([id]);
        });
      },

      findByIds() {
        test("answers those that there are, each once, by the id as it is", async () => {
          const [one, other] = [await insert(), await insert()];
          expect((await store.findByIds([other.id, one.id, one.id, newId()])).toSorted(byId)).toEqual([one, other]);
          for (const ids of [[], [one.id.toUpperCase()], [`${one.id} `], ["%"], [""]])
            expect(await store.findByIds(ids)).toEqual([]);
        });
      },

      contentsOf() {
        test("answers contents as they were uploaded, whatever is searched of them", async () => {
          const contents: [string, string][] = [
            ["text/html", "<p>one</p>\r\n"],
            ["application/json", ' {"b": 1,\n"a": "\\u00e4"} '],
            ["text/plain", ""],
            ["text/plain", "a\u0001b\u000e"],
          ];
          const made = [];
          for (const [contentType, content] of contents) made.push((await insert(content, { contentType })).id);
          const answer = new Map((await store.contentsOf([...made, newId()])).map(({ id, content }) => [id, content]));
          expect(made.map((id) => answer.get(id))).toEqual(contents.map(([, content]) => content));
          expect(answer.size).toBe(made.length);
          expect(await store.contentsOf([])).toEqual([]);
        });
      },

      page() {
        const [toolId, tag] = ["paged-tool", "paged"];
        const made: Document[] = [];
        beforeAll(async () => {
          for (let n = 0; n < 23; n++)
            made.push(
              await insert("", {
                toolId: n % 2 === 0 ? toolId : null,
                tags: n % 3 === 0 ? [tag, "second"] : ["second"],
              }),
            );
        });

        test.each<[Partial<DocumentFilter>, (document: Document) => boolean]>([
          [{ tag: "second" }, () => true],
          [{ tag }, (document) => document.tags.includes(tag)],
          [{ toolId }, (document) => document.toolId === toolId],
          [{ toolId, tag }, (document) => document.toolId === toolId && document.tags.includes(tag)],
          [{ toolId: "PAGED-TOOL" }, () => false],
          [{ toolId: "paged-tool ", tag: "second" }, () => false],
          [{ tag: "%" }, (document) => document.tags.includes("%")],
        ])("goes over what was uploaded in the same millisecond, newest first, each once: %j", async (filter, fits) => {
          const wanted = made.filter(fits).toReversed();
          const whole = { ...EVERYTHING, ...filter };
          for (const limit of [1, 4, 23]) {
            const rows = await everyPage(
              (page) => store.page(whole, page).rows(),
              ({ id }) => id,
              limit,
            );
            expect(rows.filter((row) => made.some(({ id }) => id === row.id))).toEqual(wanted);
            expect(await store.page(whole, { limit, afterId: wanted[1]?.id ?? null, offset: 3 }).totalCount()).toBe(
              rows.length,
            );
          }
        });

        test("of everything begins with what is newest, and has nothing behind its end", async () => {
          const newest = await insert();
          const rows = await store.page(EVERYTHING, { limit: 1, afterId: null, offset: 0 }).rows();
          expect(rows).toHaveLength(2);
          expect(rows[0]).toEqual(newest);
          const count = await store.page(EVERYTHING, FIRST_PAGE).totalCount();
          expect(await store.page(EVERYTHING, { ...FIRST_PAGE, offset: count }).rows()).toEqual([]);
        });

        test("finds a document by each of its tags as it is, and by no other", async () => {
          const ids = new Map<string, string>();
          for (const text of ODD_TEXTS) ids.set(text, (await insert("", { tags: [`odd${text}`] })).id);
          for (const text of ODD_TEXTS)
            expect(idsOf(await listed({ tag: `odd${text}` })), JSON.stringify(text)).toEqual([ids.get(text)]);
        });
      },

      pagesOfTools() {
        test("pages the documents of each tool, newest first", async () => {
          const tools = ["pages-one", "pages-two"] as const;
          const made: Document[] = [];
          for (let n = 0; n < 9; n++) made.push(await insert("", { toolId: n % 3 === 0 ? tools[0] : tools[1] }));
          const of = (tool: string) => made.filter(({ toolId }) => toolId === tool).toReversed();
          const read = async (page: Page) => (await store.pagesOfTools(["nothing", tools[1]], page))[1] ?? [];
          for (const limit of [1, 4, 6]) expect(await everyPage(read, ({ id }) => id, limit)).toEqual(of(tools[1]));
          expect(await store.pagesOfTools([tools[1], "nothing", tools[0]], FIRST_PAGE)).toEqual([
            of(tools[1]),
            [],
            of(tools[0]),
          ]);
          expect(await store.pagesOfTools([], FIRST_PAGE)).toEqual([]);
        });
      },

      countsOfTools() {
        test("counts in the order of the tools", async () => {
          for (const toolId of ["counts-one", "counts-two", "counts-two"]) await insert("", { toolId });
          expect(await store.countsOfTools(["counts-two", "nothing", "counts-one", "COUNTS-ONE"])).toEqual([
            2, 0, 1, 0,
          ]);
          expect(await store.countsOfTools([])).toEqual([]);
        });
      },

      search() {
        const toolId = "searched";
        const ids: Record<string, string> = {};
        beforeAll(async () => {
          const texts: Record<string, [title: string, content: string, tags?: string[]]> = {
            storms: ["Storms at sea", "Sailors generate reports about storms. The harbour master reads them aloud."],
            quiet: ["A quiet harbour", "No storms here. A master of the harbour reads nothing.", ["calm"]],
            zurich: ["Z\u00fcrich", "Die Stra\u00dfe am See, 100% sicher; snake_case and back\\slash."],
            tokyo: ["\u6771\u4eac", "\u{1f600} smiles"],
            long: ["Long", `${"filler ".repeat(20_000)} needleword ${"filler ".repeat(100)}`],
          };
          for (const [key, [title, content, tags = []]] of Object.entries(texts))
            ids[key] = (await insert(content, { title, tags, toolId })).id;
          await insert("Storms of another tool", { toolId: "another" });
        });

        test.each<[string, string[]]>([
          ["storms", ["quiet", "storms"]],
          ["STORM", ["quiet", "storms"]],
          ["storms sailors", ["storms"]],
          ['"harbour master"', ["storms"]],
          ['"master of the harbour"', ["quiet"]],
          ["harbour -sailors", ["quiet"]],
          ['harbour -"master of"', ["storms"]],
          ["generati*", []],
          ["genera*", ["storms"]],
          ["sail* storms", ["storms"]],
          ["zurich", ["zurich"]],
          ["Z\u00dcRICH", ["zurich"]],
          ["zu\u0308rich", ["zurich"]],
          ["stra\u00dfe", ["zurich"]],
          ["100%", ["zurich"]],
          ["snake_case", ["zurich"]],
          ["back\\slash", ["zurich"]],
          ["\u6771\u4eac", ["tokyo"]],
          ["\u6771*", ["tokyo"]],
          ["smiles", ["tokyo"]],
          ["needleword", ["long"]],
          ["nothingofthekind", []],
          ["st%", []],
          ["s_orms", []],
          ["-storms", []],
          ["%", []],
          ["_", []],
          ["", []],
          ['"', []],
          ["storms AND sailors", []],
          ["storms OR nothing", []],
          ["title:storms", []],
          ["storms) OR (harbour", []],
          ["'; DROP TABLE documents; --", []],
        ])("finds by %s what has all of it", async (query, keys) => {
          expect(await found(query, { toolIds: [toolId] })).toEqual(keys.map((key) => ids[key] ?? key).toSorted());
        });

        test("finds only documents of the tool, and with the tag", async () => {
          expect(await found("storms", { toolIds: [toolId], tag: "calm" })).toEqual([ids["quiet"]]);
          expect(await found("storms", { tag: "calm" })).toEqual([ids["quiet"]]);
          expect(await found("storms", { toolIds: ["SEARCHED"] })).toEqual([]);
          expect(await found("storms", { toolIds: [] })).toEqual([]);
          const ofBoth = await found("storms", { toolIds: [toolId, "another"] });
          expect(ofBoth).toHaveLength((await found("storms", { toolIds: [toolId] })).length + 1);
          expect(await found("storms", { tag: "Calm" })).toEqual([]);
          expect(await found("storms")).toHaveLength(3);
        });

        test("finds a document of thousands of words by any of them together, and not by one that it lacks", async () => {
          const words = Array.from({ length: 11_000 }, (_, n) => `manyword${n}`);
          const { id } = await insert(words.join(" "), { title: "Large" });
          for (const query of [
            "manyword0 manyword9999",
            "large manyword5000 manyword999*",
            '"manyword1 manyword2" large',
          ])
            expect(await found(query), query).toEqual([id]);
          for (const query of ["manyword0 manyword11000", "manyword0 -manyword9999", "large -manyword999*"])
            expect(await found(query), query).toEqual([]);
          await update(id, { tags: ["many-words"] });
          expect(await found("manyword9999", { tag: "many-words" })).toEqual([id]);
          await store.delete(id, null);
          expect(await found("manyword9999")).toEqual([]);
        });

        test("answers the best first, titles above texts, and shows the passage with its matches", async () => {
          const [best, ...others] = await search("storms", { toolIds: [toolId] }).rows();
          expect(best).toMatchObject({
            documentId: ids["storms"],
            snippet: expect.stringContaining("\u27e6storms\u27e7"),
          });
          for (const other of others) expect(other.score).toBeLessThan(best?.score ?? 0);
          const [far] = await search("needleword", { toolIds: [toolId] }).rows();
          expect(far?.snippet).toMatch(/filler \u27e6needleword\u27e7 filler/);
          expect(far?.snippet.length).toBeLessThan(1_000);
        });

        test("shows of a long text the first passage that has all that is looked for, wherever it is", async () => {
          const words = Array.from({ length: 40_000 }, (_, n) => `filler${n % 100}`);
          words[10] = "alphaword";
          words[20_000] = "betaword";
          words.splice(35_000, 1, "lateword", "alphaword", "betaword");
          // About the 100,000th character, to which the adapter on MongoDB looks first.
          const at = () => words.join(" ").slice(0, 100_000).split(" ").length;
          const edge = at();
          for (let n = edge - 500; n < edge + 500; n += 1) words[n] = `edge${n}`;
          words[at() - 1] = "x".repeat(1_000);
          const cut = words.join(" ").slice(0, 100_000).split(" ").at(-1) ?? "";
          words[30_000] = cut;
          const { id } = await insert(words.join(" "), { title: "Gammaword" });
          const shown = async (query: string) => (await search(query).rows())[0]?.snippet;
          expect(await shown("alphaword")).toContain("filler9 ⟦alphaword⟧ filler11");
          expect(await shown("alphaword betaword")).toContain("lateword ⟦alphaword⟧ ⟦betaword⟧");
          expect(await shown("betaword")).toContain("filler99 ⟦betaword⟧ filler1");
          expect(await shown("alphaword gammaword")).toContain("filler9 ⟦alphaword⟧ filler11");
          for (const n of [-300, -150, -3, 1, 2, 300].map((more) => at() + more))
            expect(await shown(`edge${n}`)).toContain(`edge${n - 1} ⟦edge${n}⟧ edge${n + 1}`);
          for (const query of [
            '"lateword alphaword betaword"',
            '"filler9 alphaword" betaword',
            `"edge${at()} edge${at() + 1}"`,
          ])
            expect(await found(query), query).toEqual([id]);
          for (const query of [`"edge${at() - 2} ${cut}"`, '"filler9 alphaword" -"lateword alphaword"'])
            expect(await found(query), query).toEqual([]);
          await store.delete(id, null);
        });

        test("goes over documents of the same rank by offsets, each once", async () => {
          const same = [];
          for (let n = 0; n < 11; n++) same.push((await insert("equalrank", { title: "Same" })).id);
          for (const limit of [1, 4, 11]) {
            const paged: string[] = [];
            for (let offset = 0; offset < 11; offset += limit) {
              const rows = await search("equalrank", {}, { limit, offset }).rows();
              expect(rows).toHaveLength(Math.min(limit + 1, 11 - offset));
              paged.push(...rows.slice(0, limit).map(({ documentId }) => documentId));
            }
            expect(paged).toEqual(same.toReversed());
          }
          expect(await search("equalrank", {}, { limit: 1, offset: 3 }).totalCount()).toBe(11);
          expect(await search("equalrank", {}, { limit: 5, offset: 11 }).rows()).toEqual([]);
        });
      },

      close() {
        test("ends when the work that was begun is written", async () => {
          const { stores, close } = await open();
          const document = documentOf();
          const writing = stores[0].insert(document, textOf("last words"), null);
          await stores[0].close();
          expect(await writing).toMatchObject({ id: document.id });
          expect(idsOf(await stores[1].findByIds([document.id]))).toEqual([document.id]);
          await close();
        });
      },
    });
  });
}
