import { createLogger } from "@toolyard/service-kit";
import { expect, test, vi } from "vitest";
import { routeTo } from "../fixtures/proxy.ts";
import { createRefusedRoutes } from "./refused-routes.ts";
import { parseRouteTable } from "@toolyard/routes";

const good = (key: string) => ({ ...routeTo(key, []), key });
const bad = (key: string) => ({ ...good(key), weight: "much" });

test("a route that is not as agreed is logged once, counted while it is there, and logged again if it was good between", () => {
  const logger = createLogger({ level: "silent", name: "test" });
  const logged = vi.spyOn(logger, "error");
  const refusedRoutes = createRefusedRoutes({ logger });
  /** Answers how many are counted, and how often was logged since. */
  const take = (routes: unknown[], fields: object = {}): [number, number] => {
    logged.mockClear();
    const head = { version: "1", position: "p", sessionKey: "k".repeat(32), begins: false, more: false, removed: [] };
    const { table, refused } = parseRouteTable({ ...head, routes, ...fields });
    refusedRoutes.note(table, refused);
    return [refusedRoutes.count(), logged.mock.calls.length];
  };
  expect(take([bad("a"), good("b")], { begins: true })).toEqual([1, 1]);
  for (let times = 0; times < 10; times += 1) expect(take([bad("a")])).toEqual([1, 0]);
  // Connected again, in two parts: what is counted changes with the last.
  expect(take([bad("a"), bad("c")], { begins: true, more: true })).toEqual([1, 1]);
  expect(take([bad("c"), good("b")])).toEqual([2, 0]);
  expect(take([good("a")])).toEqual([1, 0]);
  expect(take([bad("a")])).toEqual([2, 1]);
  expect(take([], { removed: ["a", "c"] })).toEqual([0, 0]);
  expect(take([bad("a"), { no: "key" }])).toEqual([2, 2]);
  expect(take([], { begins: true })).toEqual([0, 0]);
});
