import { DEFAULT_OPTIONS } from "@toolyard/launch";
import { newId } from "@toolyard/service-kit";
import { ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RepositoryTemplateFile, TemplateRepositoryStore } from "./template-repository.ts";

interface OpenTemplateRepositoryStore {
  /** The same store, as two processes have it open. */
  stores: readonly [TemplateRepositoryStore, TemplateRepositoryStore];
  close(): Promise<void>;
}

const FILE: RepositoryTemplateFile = {
  file: "weather.yaml",
  oid: "a".repeat(40),
  template: {
    id: "weather",
    name: "Weather",
    description: ODD_TEXTS.join("\n"),
    launch: {
      kind: "stdio",
      command: "server",
      args: [],
      env: [],
      workingDirectory: null,
      sessions: "ISOLATED",
      options: { ...DEFAULT_OPTIONS, resources: null },
    },
    configSchema: { default: ODD_JSON },
    repository: null,
    version: null,
    source: "REPOSITORY",
    authorId: null,
  },
  problems: [],
};
const BROKEN: RepositoryTemplateFile = {
  file: "wrong.yaml",
  oid: "b".repeat(40),
  template: null,
  problems: [{ path: "launch", message: "is missing", line: 3 }],
};

/** What every adapter of TemplateRepositoryStore must show. */
export function templateRepositoryContract(name: string, open: () => Promise<OpenTemplateRepositoryStore>): void {
  describe(`TemplateRepositoryStore on ${name}`, () => {
    let store: TemplateRepositoryStore;
    let other: TemplateRepositoryStore;
    let close: () => Promise<void>;
    beforeAll(async () => {
      const { stores, close: closeBoth } = await open();
      [store, other] = stores;
      close = closeBoth;
    });
    afterAll(() => close());

    const newPlace = () => `acme/${newId()}\nservers\n`;
    const read = { commitSha: "c1", files: [FILE, BROKEN], at: 1_700_000_000_123 };

    testMethods<TemplateRepositoryStore>({
      state() {
        test("is null of a place that was never asked about", async () => {
          expect(await store.state(newPlace())).toBeNull();
        });
      },
      files() {
        test("are none of a place that was never read", async () => {
          const place = newPlace();
          await store.checked(place, 1, "away");
          expect(await store.files(place)).toEqual([]);
        });
      },
      replace() {
        test("keeps a commit's files as they are, and no other place's", async () => {
          const [place, next] = [newPlace(), newPlace()];
          expect(await store.replace(place, null, read)).toBe(true);
          expect(await other.files(place)).toEqual([FILE, BROKEN]);
          expect(await other.state(place)).toEqual({
            commitSha: "c1",
            syncedAt: read.at,
            checkedAt: read.at,
            lastError: null,
          });
          expect(await other.replace(next, null, { ...read, files: [FILE] })).toBe(true);
          expect(await store.files(next)).toEqual([FILE]);
          expect(await store.state(place)).toBeNull();
        });
        test("writes nothing over a commit that another process wrote meanwhile", async () => {
          const place = newPlace();
          const both = await Promise.all([
            store.replace(place, null, read),
            other.replace(place, null, { ...read, commitSha: "c2", files: [] }),
          ]);
          expect(both.filter(Boolean)).toHaveLength(1);
          expect(await store.files(place)).toEqual(both[0] ? [FILE, BROKEN] : []);
        });
      },
      checked() {
        test("notes an error and its end, and keeps the files", async () => {
          const place = newPlace();
          await store.replace(place, null, read);
          await other.checked(place, read.at + 5, "away");
          expect(await store.state(place)).toEqual({
            commitSha: "c1",
            syncedAt: read.at,
            checkedAt: read.at + 5,
            lastError: "away",
          });
          await store.checked(place, read.at + 6, null);
          expect(await other.state(place)).toMatchObject({ checkedAt: read.at + 6, lastError: null });
          expect(await other.files(place)).toEqual([FILE, BROKEN]);
        });
      },
    });
  });
}
