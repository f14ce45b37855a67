import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, createSealer } from "@toolyard/service-kit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { routeTo } from "../fixtures/proxy.ts";
import type { Route, RouteTable } from "@toolyard/routes";
import type { Demand } from "./demand.ts";
import { createRoutes, type Routes } from "./routes.ts";
import { createRoutesFile } from "./routes-file.ts";

const logger = createLogger({ level: "silent", name: "proxy" });
const noDemand: Demand = { began() {}, ended() {}, uses() {}, wake: () => undefined, hold: () => false, letGo() {} };
const newRoutes = () => createRoutes({ allowPrivateRemotes: true, demandOf: () => noDemand, logger });
const sealer = createSealer({ secretKey: "a secret key of the proxy's tests, long enough" });

const tableOf = (version: number, fields: Partial<RouteTable>): RouteTable => ({
  version: String(version),
  position: `p${version}`,
  sessionKey: "session-key-session-key",
  begins: false,
  more: false,
  routes: [],
  removed: [],
  ...fields,
});

const anyRoute = fc
  .record({
    slug: fc.constantFrom("a", "b", "c"),
    ref: fc.constantFrom("", "staging", "x-1"),
    port: fc.constantFrom(1, 2),
  })
  .map(({ slug, ref, port }) => routeTo(slug, [`http://127.0.0.1:${port}`], { ref }));
const anyUpdate = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      routes: fc.array(anyRoute, { maxLength: 3 }),
      removes: fc.array(anyRoute, { maxLength: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      parts: fc.array(fc.array(anyRoute, { maxLength: 3 }), { minLength: 1, maxLength: 3 }),
      isCut: fc.boolean(),
    }),
  },
);

const keyed = (routes: Iterable<Route>) => new Map([...routes].map((route) => [route.key, route]));

function contentOf(routes: Routes): Map<string, Route> {
  const parts = [...(routes.parts() ?? [])];
  expect(parts.map(({ begins, more }) => [begins, more])).toEqual(
    parts.map((_, index) => [index === 0, index < parts.length - 1]),
  );
  return keyed(parts.flatMap(({ routes: some }) => some));
}

test("whatever comes, in parts, twice or cut off: the table is what it leads to, and nothing of what is gone is kept", () => {
  fc.assert(
    fc.property(fc.array(anyUpdate, { maxLength: 12 }), fc.constantFrom(1, 2), (updates, times) => {
      const routes = newRoutes();
      let model = new Map<string, Route>();
      const take = (table: RouteTable) => {
        for (let time = 0; time < times; time += 1) routes.apply(table);
      };
      take(tableOf(0, { begins: true }));
      for (const [index, update] of updates.entries()) {
        if ("routes" in update) {
          const removed = update.removes.map(({ key }) => key);
          take(tableOf(index + 1, { routes: update.routes, removed }));
          for (const route of update.routes) model.set(route.key, route);
          for (const key of removed) model.delete(key);
          continue;
        }
        for (const [at, part] of update.parts.entries()) {
          const isLast = at === update.parts.length - 1;
          if (isLast && update.isCut) routes.resume();
          else take(tableOf(index + 1, { begins: at === 0, more: !isLast, routes: part }));
          if (!isLast && times > 1) continue;
        }
        if (!update.isCut) model = keyed(update.parts.flat());
      }
      expect(contentOf(routes)).toEqual(model);
      for (const route of model.values()) {
        const found = routes.find(route.slug, route.ref);
        expect(found?.deployments.map(({ key }) => key)).toEqual([route.key]);
        expect(found?.deployments[0].replicas.map(({ target }) => target)).toEqual(route.targets);
      }
      expect(routes.count()).toBe(model.size);
    }),
  );
});

test("a replica in both keeps its connections, and one in none any more is let go", () => {
  const routes = newRoutes();
  const [one, two] = [routeTo("one", ["http://127.0.0.1:1"]), routeTo("two", ["http://127.0.0.1:2"])];
  const own = { ...one, key: "own", ref: "one-x" };
  routes.apply(tableOf(1, { begins: true, routes: [one, own, two] }));
  const replicaOf = (slug: string, ref = "") => routes.find(slug, ref)?.deployments[0].replicas[0];
  const load = (slug: string) => routes.find(slug, "")?.deployments[0].load;
  const [kept, other, loadOfTwo] = [replicaOf("one"), replicaOf("two"), load("two")];
  expect(replicaOf("one", "one-x")).toBe(kept);
  routes.apply(tableOf(2, { routes: [{ ...one, stateReason: "news" }], removed: ["own"] }));
  routes.apply(tableOf(3, { begins: true, routes: [one], more: true }));
  routes.apply(tableOf(3, { routes: [two] }));
  expect([replicaOf("one"), replicaOf("two"), load("two")]).toEqual([kept, other, loadOfTwo]);
  expect(replicaOf("one")).toBe(kept);
  if (kept) kept.outstanding = 3;
  if (other) other.outstanding = 4;
  expect(routes.outstanding()).toBe(7);
  routes.apply(tableOf(4, { removed: [two.key] }));
  expect(routes.outstanding()).toBe(3);
  routes.apply(tableOf(5, { begins: true }));
  expect(routes.outstanding()).toBe(0);
  routes.apply(tableOf(6, { routes: [two] }));
  expect(load("two")).not.toBe(loadOfTwo);
});

test("only who waits for what has changed is woken", () => {
  const routes = newRoutes();
  routes.apply(tableOf(1, { begins: true, routes: [routeTo("one", []), routeTo("two", [])] }));
  const woken: string[] = [];
  for (const slug of ["one", "two", "three"]) routes.onceChanged(slug, "", () => woken.push(slug));
  routes.onceChanged("one", "", () => woken.push("taken back"))();
  routes.apply(tableOf(2, { routes: [routeTo("two", ["http://127.0.0.1:1"])] }));
  routes.apply(tableOf(3, { routes: [routeTo("two", [])] }));
  expect(woken).toEqual(["two"]);
  routes.apply(tableOf(4, { routes: [routeTo("three", [])], removed: [routeTo("one", []).key] }));
  expect(woken).toEqual(["two", "three", "one"]);
  const waitAgain = () => {
    woken.push("again");
    if (woken.length < 10) routes.onceChanged("one", "", waitAgain);
  };
  routes.onceChanged("one", "", waitAgain);
  routes.apply(tableOf(5, { begins: true }));
  expect(woken).toEqual(["two", "three", "one", "again"]);
});

test("the file grows by what has changed, is written anew when that is much, and leads to the same table", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-proxy-"));
  try {
    const path = join(folder, "routes.json");
    const errors: unknown[] = [];
    const open = (routes: Routes) =>
      createRoutesFile({ path, sealer, parts: () => routes.parts(), onError: (error) => errors.push(error) });
    const routes = newRoutes();
    const note = (file: ReturnType<typeof open>, table: RouteTable) => file.note(table, routes.apply(table));
    const many = Array.from({ length: 1_000 }, (_, index) => routeTo(`tool-${index}`, ["http://127.0.0.1:1"]));
    let file = open(routes);
    note(file, tableOf(1, { begins: true, more: true, routes: many.slice(0, 500) }));
    note(file, tableOf(1, { routes: many.slice(500) }));
    await file.close();
    const { size: whole } = await stat(path);

    const again = async (): Promise<Routes> => {
      const read = newRoutes();
      for await (const table of open(read).read()) read.apply(table);
      expect(contentOf(read)).toEqual(contentOf(routes));
      expect([read.version(), read.resume()]).toEqual([routes.version(), routes.resume()]);
      return read;
    };
    await again();
    // A proxy that has just begun writes a file of its own first: another may still hold the one that there is.
    file = open(routes);
    note(file, tableOf(2, { routes: [routeTo("tool-1", [])] }));
    await file.flush();
    const { size: before } = await stat(path);
    note(file, tableOf(3, { routes: [routeTo("tool-2", [])], removed: [many[3]?.key ?? ""] }));
    await file.flush();
    const { size: after } = await stat(path);
    expect(after - before).toBeLessThan(whole / 500);
    await again();
    for (let version = 4; version < 60; version += 1) {
      note(file, tableOf(version, { routes: many.slice(0, 100).map((route) => ({ ...route, digest: `${version}` })) }));
      await file.flush();
    }
    expect((await stat(path)).size).toBeLessThan(3 * whole);
    await file.close();
    await again();

    const text = await readFile(path, "utf8");
    expect(text).not.toContain("tool-");
    expect(errors).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a file that ends within a line is good up to there, and what another credential wrote is none", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-proxy-"));
  try {
    const path = join(folder, "routes.json");
    const routes = newRoutes();
    const onError = (error: unknown) => {
      throw error;
    };
    const file = createRoutesFile({ path, sealer, parts: () => routes.parts(), onError });
    const note = (table: RouteTable) => file.note(table, routes.apply(table));
    note(tableOf(1, { begins: true, routes: [routeTo("one", [])] }));
    await file.flush();
    note(tableOf(2, { routes: [routeTo("two", [])] }));
    await file.close();
    const text = await readFile(path, "utf8");
    const readAs = async (content: string, by = sealer): Promise<(string | null)[]> => {
      await rm(path);
      await writeFile(path, content);
      const read = newRoutes();
      const opened = createRoutesFile({ path, sealer: by, parts: () => read.parts(), onError });
      for await (const table of opened.read()) read.apply(table);
      return [read.version(), ...[...(read.parts() ?? [])].flatMap(({ routes: some }) => some.map(({ slug }) => slug))];
    };
    expect(await readAs(text)).toEqual(["2", "one", "two"]);
    expect(await readAs(text.slice(0, -20))).toEqual(["1", "one"]);
    expect(await readAs(text, createSealer({ secretKey: "another secret key, that is long enough" }))).toEqual([null]);
    // As earlier versions wrote it: the whole table, whose routes have no keys.
    const { key: _key, ...route } = routeTo("old", []);
    const old = JSON.stringify({ version: "7", sessionKey: "session-key-session-key", routes: [route] });
    expect(await readAs(sealer.seal(old, "routes.json"))).toEqual(["7", "old"]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
