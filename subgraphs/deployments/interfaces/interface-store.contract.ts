import { newId } from "@toolyard/service-kit";
import { testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { interfaceOf, readingOf } from "./interface-fixture.ts";
import {
  KEPT_CHANGES,
  KEPT_INTERFACES,
  type InterfaceChange,
  type InterfaceStore,
  type InterfaceWrite,
  type StoredInterface,
} from "./interface-store.ts";

export interface OpenInterfaceStore {
  interfaces: InterfaceStore;
  /** The same data, as two processes have it open: what interfaces are written by. */
  stores: readonly [Pick<DeploymentStore, "transaction">, Pick<DeploymentStore, "transaction">];
  close(): Promise<void>;
}

/** What every adapter of InterfaceStore must show. */
export function interfaceStoreContract(name: string, open: () => Promise<OpenInterfaceStore>): void {
  describe(`InterfaceStore on ${name}`, () => {
    let opened: OpenInterfaceStore;
    let interfaces: InterfaceStore;
    beforeAll(async () => {
      opened = await open();
      ({ interfaces } = opened);
    });
    afterAll(() => opened.close());

    const save = (write: InterfaceWrite, which: 0 | 1 = 0) =>
      opened.stores[which].transaction((tx) => tx.saveInterface(write));
    const first = (stored: StoredInterface): InterfaceWrite => ({ stored, replaces: null, change: null });
    const changeOf = (toolId: string, digest: string): InterfaceChange => ({
      id: newId(),
      toolId,
      digest,
      at: 2_000,
      deploymentId: "d",
      difference: {
        added: [{ kind: "TOOL", name: "\u{1f600}", paths: [], calls30d: 0 }],
        removed: [],
        changed: [{ kind: "INSTRUCTIONS", name: "instructions", paths: ["/a~1b"], calls30d: null }],
        isWhole: true,
      },
    });
    const newTool = () => `tool-${newId()}`;
    const headOf = ({ content: _content, ...head }: StoredInterface) => head;

    testMethods<InterfaceStore>({
      heads() {
        test("answers in the order of the keys, of each digest the last that was written", async () => {
          const [toolId, other] = [newTool(), newTool()];
          const old = interfaceOf({ toolId, digest: "a" });
          const now = interfaceOf({ toolId, digest: "a", hash: "newer", toolsHash: null, at: 5_000 });
          const elsewhere = interfaceOf({ toolId: other, digest: "b" });
          await save(first(old));
          await save(first(elsewhere));
          expect(await save({ stored: now, replaces: old.hash, change: null })).toBe(true);
          const keys = [
            { toolId: other, digest: "a" },
            { toolId: other, digest: "b" },
            { toolId, digest: "a" },
          ];
          expect(await interfaces.heads(keys)).toEqual([null, headOf(elsewhere), headOf(now)]);
          expect(await interfaces.heads([])).toEqual([]);
        });

        test("of several that write at once one does, and the others are told", async () => {
          const toolId = newTool();
          const writes = Array.from({ length: 6 }, (_, n) =>
            save(first(interfaceOf({ toolId, hash: `hash-${n}` })), n % 2 === 0 ? 0 : 1),
          );
          const written = await Promise.all(writes);
          expect(written.filter(Boolean)).toHaveLength(1);
          const [head] = await interfaces.heads([{ toolId, digest: "digest" }]);
          expect(head?.hash).toBe(`hash-${written.indexOf(true)}`);
        });
      },

      find() {
        test("answers all of it as it was written, and null where there is none", async () => {
          const long = readingOf([{ name: "x".repeat(900_000), "\u0000": "\ud800", deep: { list: [1, null, 1e21] } }]);
          const stored = interfaceOf({ toolId: newTool(), content: long });
          await save(first(stored));
          expect(await interfaces.find(stored)).toEqual(stored);
          expect(await interfaces.find({ ...stored, digest: "another" })).toBeNull();
        });

        test("keeps those of a tool that changed last", async () => {
          const toolId = newTool();
          const stored = (n: number) => interfaceOf({ toolId, digest: `digest-${n}`, at: 1_000 + n });
          for (let n = 0; n < KEPT_INTERFACES; n += 1) await save(first(stored(n)));
          await save({ stored: { ...stored(0), hash: "new", at: 9_000 }, replaces: "hash", change: null });
          await save(first(stored(KEPT_INTERFACES)));
          const found = await interfaces.heads(
            Array.from({ length: KEPT_INTERFACES + 1 }, (_, n) => ({ toolId, digest: `digest-${n}` })),
          );
          expect(found.map((head) => head !== null)).toEqual([true, false, ...found.slice(2).map(() => true)]);
        });
      },

      changesOf() {
        test("answers the newest of each tool first, of one digest where that is asked", async () => {
          const [toolId, other, none] = [newTool(), newTool(), newTool()];
          const changes = [
            changeOf(toolId, "a"),
            changeOf(toolId, "b"),
            changeOf(other, "a"),
            changeOf(toolId, "a"),
          ] as const;
          for (const [n, change] of changes.entries()) {
            const { digest } = change;
            const [head] = await interfaces.heads([change]);
            const stored = interfaceOf({ toolId: change.toolId, digest, hash: `${n}` });
            expect(await save({ stored, replaces: head?.hash ?? null, change })).toBe(true);
          }
          const ids = [other, none, toolId];
          expect(await interfaces.changesOf(ids, null, 2)).toEqual([[changes[2]], [], [changes[3], changes[1]]]);
          expect(await interfaces.changesOf(ids, "a", 10)).toEqual([[changes[2]], [], [changes[3], changes[0]]]);
        });

        test("keeps the newest of a tool", async () => {
          const toolId = newTool();
          const ids: string[] = [];
          for (let n = 0; n <= KEPT_CHANGES; n += 1) {
            const change = changeOf(toolId, "a");
            ids.unshift(change.id);
            const stored = interfaceOf({ toolId, digest: "a", hash: `${n}` });
            await save({ stored, replaces: n === 0 ? null : `${n - 1}`, change });
          }
          const [found = []] = await interfaces.changesOf([toolId], null, KEPT_CHANGES + 10);
          expect(found.map(({ id }) => id)).toEqual(ids.slice(0, KEPT_CHANGES));
        });
      },
    });
  });
}
