import { DEFAULT_OPTIONS } from "@toolyard/launch";
import { newId } from "@toolyard/service-kit";
import { ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ImportedTemplate, TemplateStore } from "./template-store.ts";

export interface OpenTemplateStore {
  /** The same store, as two processes have it open. */
  stores: readonly [TemplateStore, TemplateStore];
  close(): Promise<void>;
}

function templateOf(more: Partial<ImportedTemplate> = {}): ImportedTemplate {
  return {
    id: `t-${newId()}`,
    name: "Weather",
    description: "",
    launch: {
      kind: "stdio",
      command: "server",
      args: [],
      env: [],
      workingDirectory: null,
      sessions: "ISOLATED",
      options: { ...DEFAULT_OPTIONS, resources: null },
    },
    configSchema: {},
    repository: null,
    version: null,
    source: "IMPORTED",
    authorId: newId(),
    serverName: "io.github.example/weather",
    importedAt: 1_700_000_000_123,
    ...more,
  };
}

const ANY = { mayReplace: () => true, most: 100 };

/** What every adapter of TemplateStore must show. */
export function templateStoreContract(name: string, open: () => Promise<OpenTemplateStore>): void {
  describe(`TemplateStore on ${name}`, () => {
    let store: TemplateStore;
    let other: TemplateStore;
    let close: () => Promise<void>;
    beforeAll(async () => {
      const { stores, close: closeBoth } = await open();
      [store, other] = stores;
      close = closeBoth;
    });
    afterAll(() => close());

    async function put(more: Partial<ImportedTemplate> = {}): Promise<ImportedTemplate> {
      const template = templateOf(more);
      expect(await store.put(template, ANY)).toBe("put");
      return template;
    }

    testMethods<TemplateStore>({
      put() {
        test("keeps a template as it is", async () => {
          const template = await put({
            name: "\u{1f600} %_\\' ",
            description: ODD_TEXTS.join("\n"),
            configSchema: { default: ODD_JSON },
            repository: `https://example.com/${"a".repeat(2_000)}`,
            version: "v".repeat(255),
          });
          expect(await other.findByIds([template.id])).toEqual([template]);
        });

        test("replaces one of the same id only where that is allowed", async () => {
          const before = await put();
          const after = templateOf({ id: before.id, name: "After" });
          const seen: ImportedTemplate[] = [];
          const mayReplace = (existing: ImportedTemplate): boolean => seen.push(existing) < 0;
          expect(await store.put(after, { ...ANY, mayReplace })).toBe("taken");
          expect(seen).toEqual([before]);
          expect(await store.findByIds([before.id])).toEqual([before]);
          expect(await other.put(after, ANY)).toBe("put");
          expect(await store.findByIds([before.id])).toEqual([after]);
          const fails = () => {
            throw new Error("no");
          };
          await expect(store.put(before, { ...ANY, mayReplace: fails })).rejects.toThrow("no");
          expect(await store.findByIds([before.id])).toEqual([after]);
        });

        test("keeps no more new ones of an author than it is told, also by two processes at once", async () => {
          const { id, authorId } = await put();
          const most = 3;
          const outcomes = await Promise.all(
            Array.from({ length: 6 }, (_, index) =>
              (index % 2 === 0 ? store : other).put(templateOf({ authorId }), { ...ANY, most }),
            ),
          );
          expect(outcomes.filter((outcome) => outcome === "put")).toHaveLength(2);
          expect(outcomes.filter((outcome) => outcome === "full")).toHaveLength(4);
          expect(await store.put(templateOf({ id, authorId }), { ...ANY, most })).toBe("put");
          expect(await store.put(templateOf(), { ...ANY, most })).toBe("put");
        });
      },

      findByIds() {
        test("finds those that there are", async () => {
          const [one, two] = [await put(), await put()];
          const found = await store.findByIds([two.id, "nothing", one.id]);
          expect(found.map(({ id }) => id).toSorted()).toEqual([one.id, two.id].toSorted());
          expect(await store.findByIds([])).toEqual([]);
        });
      },

      idsOf() {
        test("has the ids of those with all words, in id, name or description", async () => {
          const word = newId();
          const one = await put({ name: `Stra\u00dfe ${word.toUpperCase()}` });
          const two = await put({ description: `100%_ ${word}` });
          const three = await put({ id: `x-${word}` });
          expect((await store.idsOf([word])).toSorted()).toEqual([one.id, two.id, three.id].toSorted());
          expect(await store.idsOf([word, "STRASSE".replace("SS", "\u00df")])).toEqual([one.id]);
          expect(await store.idsOf(["0%_", word])).toEqual([two.id]);
          expect(await store.idsOf([])).toEqual(expect.arrayContaining([one.id, two.id, three.id]));
        });
      },

      remove() {
        test("takes one out, once", async () => {
          const { id } = await put();
          expect(await other.remove(id)).toBe(true);
          expect(await store.remove(id)).toBe(false);
          expect(await store.findByIds([id])).toEqual([]);
        });
      },
    });
  });
}
