import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { anonymous } from "@toolyard/service-kit";
import { rowsRead, statementsOf } from "@toolyard/testing/statements.ts";
import { expect, test } from "vitest";
import { findDeployment } from "../deploying/deployment-reference.ts";
import { shiftRoute } from "../engine/route-shift.ts";
import { createRouteFixture } from "../routes/route-fixture.ts";

/** The most rows that one statement answers, for each operation on a tool of which so many deployments are to run. */
async function mostRows(count: number): Promise<Record<string, number>> {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-one-tool-"));
  try {
    await using fixture = await createRouteFixture({ stoppedRoutes: 5, file: join(folder, "deployments.sqlite") });
    const { store } = fixture;
    const [first, second] = [await fixture.deploy("tool"), await fixture.deploy("tool")];
    for (let made = 2; made < count; made += 1) await fixture.deploy("tool");
    const most = async (work: () => Promise<unknown>) =>
      Math.max(...rowsRead(await statementsOf(work)).map(({ rows }) => rows));
    const found = {
      deploy: await most(() => fixture.deploy("tool")),
      find: await most(async () => expect((await findDeployment(store, { id: "tool" }, anonymous))?.id).toBe(first.id)),
      inPlace: await most(async () => expect(await store.inPlace(["tool"])).toMatchObject([{ id: first.id }])),
      shift: await most(async () => expect(await shiftRoute(store, second.id, Date.now())).toEqual([first.id])),
    };
    expect(await store.inPlace(["tool"])).toMatchObject([{ id: second.id }]);
    return found;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test("deploying a tool, finding it and shifting its route read no more of fifty deployments than of five", async () => {
  expect(await mostRows(50)).toEqual(await mostRows(5));
});
