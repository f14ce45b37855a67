import { newId } from "@toolyard/service-kit";
import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ConnectionPlace, GitHubConnection } from "./connection.ts";
import type { ConnectionStore } from "./connection-store.ts";

/** An empty store, as two processes have it open. */
interface OpenConnectionStore {
  stores: readonly [ConnectionStore, ConnectionStore];
  close(): Promise<void>;
}

/** What every adapter of ConnectionStore must show. */
export function connectionStoreContract(name: string, open: () => Promise<OpenConnectionStore>): void {
  describe(`ConnectionStore on ${name}`, () => {
    let store: ConnectionStore;
    let other: ConnectionStore;
    let close: () => Promise<void>;
    beforeEach(async () => {
      const opened = await open();
      [store, other] = opened.stores;
      close = opened.close;
    });
    afterEach(() => close());

    const place = (more: Partial<ConnectionPlace> = {}): ConnectionPlace => ({
      toolId: newId(),
      owner: "Acme",
      repository: "Weather",
      branch: "main",
      path: "",
      ...more,
    });
    const by = { connectedById: "user", lastError: null, now: 1_000 };

    async function connected(more: Partial<ConnectionPlace> = {}): Promise<GitHubConnection> {
      const connection = await store.connect(place(more), by);
      if (connection === "following") throw new Error("It follows already.");
      return connection;
    }
    const read = async ({ id }: GitHubConnection) => (await store.findByIds([id]))[0];

    testMethods<ConnectionStore>({
      connect() {
        test("a tool follows one place, also where two processes connect it at once", async () => {
          const toolId = newId();
          const both = await Promise.all([
            store.connect(place({ toolId }), by),
            other.connect(place({ toolId, repository: "else" }), by),
          ]);
          expect(both.filter((each) => each === "following")).toHaveLength(1);
        });
        test("a place that was followed before is the same connection, with its files, and its manifest counts anew", async () => {
          const first = await connected();
          await store.putFile(first.id, { path: "a.md", documentId: "d", oid: "o", digest: "x" });
          await store.begin(first.id, "task", null);
          await store.adopted(first.id, "task", { oid: "m", versionId: "v", isNew: true });
          await store.disconnect(first.id);
          const again = await connected({ toolId: first.toolId, owner: "acme" });
          expect(again).toMatchObject({ id: first.id, status: "CONNECTED", manifestOid: null });
          expect(await store.filesOf(again.id)).toHaveLength(1);
        });
      },
      disconnect() {
        test("ends it, and what is under way changes nothing any more", async () => {
          const connection = await connected();
          await store.begin(connection.id, "task", null);
          await store.disconnect(connection.id);
          await store.end(connection.id, "task", { error: "late" });
          expect(await read(connection)).toMatchObject({ status: "DISCONNECTED", lastError: null });
          expect(await store.ofTools([connection.toolId])).toEqual([]);
        });
      },
      findByIds() {
        test("finds those that there are", async () => {
          const connection = await connected();
          expect(await other.findByIds([connection.id, "none"])).toEqual([connection]);
        });
      },
      ofTools() {
        test("answers what each tool follows", async () => {
          const [one, two] = [await connected(), await connected()];
          const found = await store.ofTools([one.toolId, two.toolId, "none"]);
          expect(new Set(found.map(({ id }) => id))).toEqual(new Set([one.id, two.id]));
        });
      },
      following() {
        test("finds connections of a branch by the repository's name in either case, and no others", async () => {
          const wanted = await connected();
          await connected({ branch: "Main" });
          await connected({ repository: "Weather2" });
          await store.disconnect((await connected()).id);
          const found = await store.following({ owner: "aCME", repository: "wEATHER", branch: "main" });
          expect(found.map(({ id }) => id)).toEqual([wanted.id]);
        });
      },
      syncing() {
        test("finds those whose turn somebody has", async () => {
          const [one, two] = [await connected(), await connected()];
          await store.begin(one.id, "a", null);
          await store.begin(two.id, "b", null);
          await store.end(two.id, "b", null);
          expect(await other.syncing()).toEqual([await read(one)]);
        });
      },
      renamed() {
        test("is followed by its new name, by the task whose turn it is", async () => {
          const connection = await connected();
          const name = { owner: "New", repository: "Name" };
          await store.renamed(connection.id, "a", name);
          expect(await store.following({ ...name, branch: "main" })).toEqual([]);
          await store.begin(connection.id, "a", null);
          await store.renamed(connection.id, "a", name);
          const found = await other.following({ owner: "new", repository: "name", branch: "main" });
          expect(found).toEqual([expect.objectContaining({ id: connection.id, ...name })]);
          expect(await store.following({ owner: "acme", repository: "weather", branch: "main" })).toEqual([]);
        });
      },
      queued() {
        test("notes one of two that are queued at once", async () => {
          const { id } = await connected();
          const both = await Promise.all([store.queued(id, "a", null), other.queued(id, "b", null)]);
          expect(both.toSorted()).toEqual([false, true]);
        });
        test("notes none for what is disconnected", async () => {
          const { id } = await connected();
          await store.disconnect(id);
          expect(await store.queued(id, "a", null)).toBe(false);
        });
      },
      begin() {
        test("gives the turn to one task, which has it again, or to another instead of it", async () => {
          const connection = await connected();
          const { id } = connection;
          const both = await Promise.all([store.begin(id, "a", null), other.begin(id, "b", null)]);
          expect(both[0]).toBe(both[1]);
          const holder = both[0] ?? "";
          expect(await store.begin(id, holder, null)).toBe(holder);
          expect(await store.begin(id, "c", "not the holder")).toBe(holder);
          expect(await store.begin(id, "c", holder)).toBe("c");
          expect(await read(connection)).toMatchObject({ status: "SYNCING", runningTaskId: "c" });
        });
        test("gives none where it is disconnected", async () => {
          const { id } = await connected();
          await store.disconnect(id);
          expect(await store.begin(id, "a", null)).toBeNull();
        });
      },
      adopted() {
        test("is noted while it is the task's turn", async () => {
          const connection = await connected();
          await store.begin(connection.id, "a", null);
          await store.adopted(connection.id, "b", { oid: "x", versionId: "x", isNew: true });
          expect(await read(connection)).toMatchObject({ manifestOid: null });
          await store.adopted(connection.id, "a", { oid: "m", versionId: "v", isNew: true });
          expect(await read(connection)).toMatchObject({
            manifestOid: "m",
            manifestVersionId: "v",
            manifestTaskId: "a",
          });
          await store.adopted(connection.id, "a", { oid: "n", versionId: "v", isNew: false });
          expect(await read(connection)).toMatchObject({ manifestOid: "n", manifestTaskId: null });
        });
      },
      end() {
        test("says how it went: by the commit, by the error, or as before", async () => {
          const connection = await connected();
          const { id } = connection;
          const turn = async (outcome: Parameters<ConnectionStore["end"]>[2]) => {
            await store.begin(id, "a", null);
            await store.end(id, "a", outcome);
            return read(connection);
          };
          const synced = { lastSyncedCommit: "c", lastSyncedAt: 5 };
          expect(await turn({ commitSha: "c", at: 5 })).toMatchObject({ status: "CONNECTED", ...synced });
          expect(await turn({ error: "No." })).toMatchObject({ status: "FAILED", lastError: "No.", ...synced });
          expect(await turn(null)).toMatchObject({ status: "FAILED", lastError: "No.", runningTaskId: null });
          expect(await turn({ commitSha: "d", at: 6 })).toMatchObject({ status: "CONNECTED", lastError: null });
          await store.begin(id, "b", null);
          await store.end(id, "a", { error: "not its turn" });
          expect(await read(connection)).toMatchObject({ status: "SYNCING", lastError: null });
        });
      },
      filesOf() {
        test("answers one connection's files", async () => {
          const [one, two] = [await connected(), await connected()];
          const file = { path: "a.md", documentId: "d", oid: null, digest: null };
          await store.putFile(one.id, file);
          expect([await store.filesOf(one.id), await store.filesOf(two.id)]).toEqual([[file], []]);
        });
      },
      putFile() {
        test("adds a file, and changes it by its path", async () => {
          const { id } = await connected();
          await store.putFile(id, { path: "a.md", documentId: "d", oid: null, digest: null });
          await store.putFile(id, { path: "a.md", documentId: "d", oid: "o", digest: "x" });
          expect(await store.filesOf(id)).toEqual([{ path: "a.md", documentId: "d", oid: "o", digest: "x" }]);
        });
      },
      removeFile() {
        test("removes one", async () => {
          const { id } = await connected();
          for (const path of ["a.md", "b.md"])
            await store.putFile(id, { path, documentId: path, oid: null, digest: null });
          await store.removeFile(id, "a.md");
          expect((await store.filesOf(id)).map(({ path }) => path)).toEqual(["b.md"]);
        });
      },
      beginDelivery() {
        test("is true once, also for two processes at once", async () => {
          const all = [store, other, store, other].map((each) => each.beginDelivery("d", 10, 0));
          expect((await Promise.all(all)).filter(Boolean)).toHaveLength(1);
        });
        test("is true again for one that was begun long ago and did not end", async () => {
          await store.beginDelivery("d", 10, 0);
          expect(await store.beginDelivery("d", 20, 10)).toBe(false);
          expect(await store.beginDelivery("d", 21, 11)).toBe(true);
          await store.finishDelivery("d");
          expect(await store.beginDelivery("d", 99, 98)).toBe(false);
        });
      },
      finishDelivery() {
        test("of one that is not there does nothing", async () => {
          await store.finishDelivery("none");
          expect(await store.beginDelivery("none", 1, 0)).toBe(true);
        });
      },
      forgetDelivery() {
        test("lets it come again", async () => {
          await store.beginDelivery("d", 10, 0);
          await store.forgetDelivery("d");
          expect(await store.beginDelivery("d", 10, 0)).toBe(true);
        });
      },
      trimDeliveries() {
        test("removes those from before", async () => {
          for (const [id, at] of [
            ["old", 5],
            ["new", 9],
          ] as const) {
            await store.beginDelivery(id, at, 0);
            await store.finishDelivery(id);
          }
          await store.trimDeliveries(9);
          expect(await store.beginDelivery("old", 10, 0)).toBe(true);
          expect(await store.beginDelivery("new", 10, 0)).toBe(false);
        });
      },
    });
  });
}
