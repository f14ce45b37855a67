import { createSealer } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import type { Deployment } from "../deployment.ts";
import { launchSchema } from "@toolyard/launch";
import { readLaunch } from "../deploying/deployed-launch.ts";
import { createRouteFixture } from "./route-fixture.ts";

const ELSEWHERE = createSealer({ secretKey: "another-secret-key-of-at-least-32-chars" });
const URL_BASE = "https://tools.example.com/mcp";

test.each<[string, Deployment["launch"], string]>([
  [
    "another SECRET_KEY's header",
    launchSchema.parse({
      kind: "remote",
      url: URL_BASE,
      headers: [{ name: "authorization", value: ELSEWHERE.seal("Bearer k3y", "v"), secret: true }],
    }),
    "another SECRET_KEY",
  ],
  [
    "another SECRET_KEY's URL",
    launchSchema.parse({ kind: "remote", url: "https://tools.example.com", secretUrl: ELSEWHERE.seal(URL_BASE, "v") }),
    "another SECRET_KEY",
  ],
  ["a launch of a later version", readLaunch('{"kind":"wasm","module":"k3y"}'), "cannot be read"],
  ["a damaged launch", readLaunch('{"kind":"stdio","comm'), "cannot be read"],
])("%s takes that one deployment out of the routes, and says so in its reason", async (_what, launch, reason) => {
  await using fixture = await createRouteFixture({ stoppedRoutes: 5 });
  const before = await fixture.deploy("before");
  const bad = await fixture.deploy("bad", "PRODUCTION", launch);
  const after = await fixture.deploy("after");
  for (const deployment of [before, bad, after]) await fixture.run(deployment);

  const { routes } = await fixture.feed.read();
  expect(Object.fromEntries(routes.map(({ key, targets }) => [key, targets.length]))).toEqual({
    [before.id]: 1,
    "before/PRODUCTION": 1,
    [bad.id]: 0,
    "bad/PRODUCTION": 0,
    [after.id]: 1,
    "after/PRODUCTION": 1,
  });
  for (const route of routes.filter(({ slug }) => slug === "bad")) {
    expect(route).toMatchObject({ stateReason: expect.stringContaining(reason), awaited: false });
    expect(JSON.stringify(route)).not.toContain("k3y");
  }

  // A change of it, and of others, is told as well.
  const changes = fixture.feed.followChanges("");
  for (let step = await changes.next(); step.value?.more;) step = await changes.next();
  await fixture.stop(after);
  await fixture.stop(bad);
  const latest = await fixture.latest();
  const removed: string[] = [];
  for (let version = -1; version < latest;) {
    const { value } = await changes.next();
    removed.push(...(value?.removed ?? []));
    version = Number(value?.version);
  }
  await changes.return?.();
  expect(removed).toEqual(expect.arrayContaining([bad.id, after.id]));
});

test("a launch that cannot be read stays as it is stored when its deployment is written", async () => {
  await using fixture = await createRouteFixture({ stoppedRoutes: 5 });
  const launch = readLaunch('{"kind":"wasm",  "module":"m"}');
  const deployment = await fixture.deploy("bad", "PRODUCTION", launch);
  await fixture.run(deployment);
  const [stored] = await fixture.store.findMany([deployment.id]);
  expect(stored?.status).toBe("RUNNING");
  expect(stored?.launch).toEqual(launch);
});
