import { createResealer } from "@toolyard/service-kit/identity/resealing.ts";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import { onEachDatabase } from "@toolyard/testing/sql-stores.ts";
import { EntitySchema } from "typeorm";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { column } from "./columns.ts";
import type { Database } from "./database.ts";
import { reseal } from "./reseal.ts";
import { insertRows } from "./writes.ts";

const OLD = "an earlier key of more than thirty-two characters";
const NEW = "a key of more than thirty-two characters, for tests";
const LOST = "a key that nobody has any more, of 32";
const [before, after] = [createSealer({ secretKey: OLD }), createSealer({ secretKey: NEW })];
const resealer = createResealer({ secretKey: NEW, previousSecretKeys: [OLD] });

interface Thing {
  kind: number;
  id: string;
  otherId: string | null;
  data: string;
}
const things = new EntitySchema<Thing>({
  name: "things",
  columns: {
    kind: { ...column.integer, primary: true },
    id: { ...column.primaryId },
    otherId: { ...column.nullableId },
    data: { ...column.text },
  },
});
interface Launched {
  id: string;
  launch: unknown;
  token: string | null;
  description: string | null;
}
const launched = new EntitySchema<Launched>({
  name: "launched",
  columns: {
    id: { ...column.primaryId },
    launch: { ...column.launch },
    token: { ...column.nullableSealed },
    description: { ...column.nullableText },
  },
});
const entities = [things, launched] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it
const looks = `sealed:v1:AAAAAAAAAAAA:${"A".repeat(50)}`;

onEachDatabase((name, open) => {
  describe(`resealing on ${name}`, () => {
    let database: Database;
    let close: () => Promise<void>;
    beforeEach(async () => {
      const opened = await open({ entities }, () => null);
      [database] = opened.databases;
      ({ close } = opened);
      const rows = Array.from({ length: 250 }, (_, index): Thing => {
        const id = `id-${index}`;
        const values = [
          before.seal("by id", id),
          before.seal("by other", `of-${index}`),
          before.seal("by place", `things.data:${id}`),
        ];
        return { kind: index % 3, id, otherId: `of-${index}`, data: JSON.stringify({ values }) };
      });
      rows.push({ kind: 9, id: "looks", otherId: null, data: `text ${looks} text` });
      rows.push({
        kind: 9,
        id: "stranger",
        otherId: null,
        data: createSealer({ secretKey: LOST }).seal("x", "stranger"),
      });
      await database.transaction(({ manager }) => insertRows(manager, things, rows));
    });
    afterEach(() => close());
    const rows = () => database.read.getRepository(things).find({ order: { kind: "ASC", id: "ASC" } });
    const run = (signal = new AbortController().signal, say: () => void = () => undefined) =>
      reseal(database, entities, resealer, { signal, say });

    test("values in every kind of context are sealed with the current key, once; others stay as they are", async () => {
      const untouched = (await rows()).slice(250);
      expect(await run()).toEqual({ opened: 750, resealed: 750, unopened: new Map() });
      expect((await rows()).slice(250)).toEqual(untouched);
      for (const { id, otherId, data } of (await rows()).slice(0, 250)) {
        const { values } = JSON.parse(data) as { values: string[] };
        const contexts = [id, otherId ?? "", `things.data:${id}`];
        expect(values.map((value, at) => after.open(value, contexts[at] ?? ""))).toEqual([
          "by id",
          "by other",
          "by place",
        ]);
      }
      expect(await run()).toEqual({ opened: 750, resealed: 0, unopened: new Map() });
    });

    test("values that open with no key are counted where an entity says that it seals, and not where users write what looks like them", async () => {
      const sealed = createSealer({ secretKey: LOST }).seal("x", "id");
      const env = [
        { name: "A", value: sealed, secret: true },
        { name: "B", value: looks, secret: false },
      ];
      const given = [
        { kind: "stdio", args: [looks], env },
        { kind: "remote", url: looks, secretUrl: sealed, headers: [] },
      ].map((launch, index): Launched => ({ id: `${index}`, launch, token: null, description: `A ${sealed}` }));
      await database.transaction(async ({ manager }) => {
        await insertRows(manager, launched, [...given, { id: "2", launch: {}, token: sealed, description: looks }]);
        await manager.query(`INSERT INTO "launched" ("id", "launch") VALUES ('3', ?)`, [`{"damaged": "${sealed}`]);
      });
      expect((await run()).unopened).toEqual(
        new Map([
          ["launched.launch", 3],
          ["launched.token", 1],
        ]),
      );
    });

    test("one that ends between two steps goes on with the rest", async () => {
      const stopping = new AbortController();
      const first = run(stopping.signal, () => stopping.abort(new Error("enough")));
      await expect(first).rejects.toThrow("enough");
      expect(await run()).toMatchObject({ opened: 750, resealed: 450 });
    });
  });
});
