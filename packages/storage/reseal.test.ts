import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createResealer } from "@toolyard/service-kit/identity/resealing.ts";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import LibsqlDatabase from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";
import { resealAll } from "./reseal.ts";

const OLD = "an earlier key of more than thirty-two characters";
const NEW = "a key of more than thirty-two characters, for tests";
const [before, after] = [createSealer({ secretKey: OLD }), createSealer({ secretKey: NEW })];
const resealer = createResealer({ secretKey: NEW, previousSecretKeys: [OLD] });

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-reseal-"));
  file = join(folder, "things.sqlite");
  const database = new LibsqlDatabase(file);
  database.exec(
    'CREATE TABLE "things" ("id" varchar(64) PRIMARY KEY, "otherId" varchar(64), "data" text, "count" integer)',
  );
  const insert = database.prepare("INSERT INTO things VALUES (?, ?, ?, 1)");
  for (let index = 0; index < 250; index += 1) {
    const id = `id-${index}`;
    const values = [
      before.seal("by id", id),
      before.seal("by other", `of-${index}`),
      before.seal("by place", `things.data:${id}`),
    ];
    insert.run(id, `of-${index}`, JSON.stringify({ values }));
  }
  insert.run("looks", null, `text sealed:v1:AAAAAAAAAAAA:${"A".repeat(50)} text`);
  insert.run(
    "stranger",
    null,
    createSealer({ secretKey: "a key that nobody has any more, of 32" }).seal("x", "stranger"),
  );
  database.close();
});
afterEach(() => rm(folder, { recursive: true }));

const rows = () => {
  const database = new LibsqlDatabase(file);
  try {
    return database.prepare("SELECT * FROM things").all() as { id: string; otherId: string; data: string }[];
  } finally {
    database.close();
  }
};

test("values in every kind of context are sealed with the current key, once; others stay as they are", async () => {
  const untouched = rows().slice(250);
  const run = () => resealAll([file], resealer, { signal: new AbortController().signal, say: () => undefined });
  expect(await run()).toEqual({ opened: 750, resealed: 750, unopened: new Map() });
  expect(rows().slice(250)).toEqual(untouched);
  for (const { id, otherId, data } of rows().slice(0, 250)) {
    const { values } = JSON.parse(data) as { values: string[] };
    const contexts = [id, otherId, `things.data:${id}`];
    expect(values.map((value, at) => after.open(value, contexts[at] ?? ""))).toEqual(["by id", "by other", "by place"]);
  }
  expect(await run()).toEqual({ opened: 750, resealed: 0, unopened: new Map() });
});

test("values that open with no key are counted where Toolyard seals, and not where users write what looks like them", async () => {
  const database = new LibsqlDatabase(file);
  const sealed = createSealer({ secretKey: "a key that nobody has any more, of 32" }).seal("x", "id");
  const looks = `sealed:v1:AAAAAAAAAAAA:${"A".repeat(50)}`;
  database.exec('CREATE TABLE "tool_versions" ("id" varchar(64), "launch" text, "description" text)');
  database.exec('CREATE TABLE "replicas" ("id" varchar(64), "sealedToken" text, "reason" text)');
  const insert = database.prepare("INSERT INTO tool_versions VALUES ('id', ?, ?)");
  const env = [
    { name: "A", value: sealed, secret: true },
    { name: "B", value: looks, secret: false },
  ];
  insert.run(JSON.stringify({ kind: "stdio", args: [looks], env }), looks);
  insert.run(JSON.stringify({ kind: "remote", url: looks, secretUrl: sealed, headers: [] }), `A ${sealed}`);
  insert.run(`{"kind": "damaged", "a": "${sealed}`, null);
  database.prepare("INSERT INTO replicas VALUES ('id', ?, ?)").run(sealed, looks);
  database.close();
  const found = await resealAll([file], resealer, { signal: new AbortController().signal, say: () => undefined });
  expect(found.unopened).toEqual(
    new Map([
      ["tool_versions.launch", 3],
      ["replicas.sealedToken", 1],
    ]),
  );
});

test("one that ends between two steps goes on with the rest", async () => {
  const stopping = new AbortController();
  const first = resealAll([file], resealer, {
    signal: stopping.signal,
    say: () => stopping.abort(new Error("enough")),
  });
  await expect(first).rejects.toThrow("enough");
  const rest = await resealAll([file], resealer, { signal: new AbortController().signal, say: () => undefined });
  expect(rest).toMatchObject({ opened: 750, resealed: 450 });
});
