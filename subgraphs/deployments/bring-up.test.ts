import { statementsOf } from "@toolyard/testing/statements.ts";
import { eventually } from "@toolyard/testing/eventually.ts";
import { expect, test } from "vitest";
import { createFixture, proxy, type FakeTool } from "./deployments-fixture.ts";

const ROUTES = `subscription { routesChanged(after: "") { version position begins more removed routes {
  key slug ref toolId deploymentId digest weight timeoutSeconds mcpPath stateReason awaited
  targets { replicaId url token ready headers { name value } mcpTarget remote } } } }`;

interface RoutesEvent {
  routesChanged: { routes: { key: string; ref: string; targets: unknown[] }[] };
}

/** Deploys so many tools at once, and answers what that comes to until a proxy knows where all of them answer. */
async function bringUp(count: number): Promise<{ statements: number; bytes: number }> {
  const tools = Object.fromEntries(
    Array.from({ length: count }, (_, index): [string, FakeTool] => [`tool-${index}`, { slug: `weather-${index}` }]),
  );
  // Sweeps come by the clock, not by what is deployed.
  const timing = { sweepIntervalMs: 600_000, drainMs: 5, graceMs: 50 };
  await using fixture = await createFixture({
    tools,
    overrides: { timing },
    config: { portRange: { first: 10_000, last: 11_000 } },
  });
  await using stream = await fixture.stream<RoutesEvent>(ROUTES, {}, proxy);
  const served = new Set<string>();
  let bytes = 0;
  const statements = await statementsOf(async () => {
    const reading = (async () => {
      while (served.size < 2 * count) {
        const { value } = await stream.next();
        if (!value) throw new Error("the stream has ended");
        bytes += JSON.stringify(value).length;
        for (const { key, targets } of value.data.routesChanged.routes) if (targets.length > 0) served.add(key);
      }
    })();
    await Promise.all(
      Object.keys(tools).map((toolId) =>
        fixture.run(`mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }`, {
          input: { toolId, environment: "PRODUCTION" },
        }),
      ),
    );
    await reading;
    await eventually("all run", async () => fixture.runtime.running().length === count);
  });
  return { statements: statements.length, bytes };
}

test("N deployments at once cost N: in statements, and in what proxies are sent", async () => {
  // Few are told of together, so that each of many costs some bytes more; three times as many squared would be nine times as much.
  const few = await bringUp(60);
  const many = await bringUp(180);
  expect(many.statements).toBeLessThan(3.3 * few.statements);
  expect(many.bytes).toBeLessThan(4.5 * few.bytes);
});
