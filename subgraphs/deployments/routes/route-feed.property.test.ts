import fc from "fast-check";
import { expect, test } from "vitest";
import type { Deployment, Environment } from "../deployment.ts";
import type { DeploymentRecord } from "../store/deployment-store.ts";
import { shiftRoute } from "../engine/route-shift.ts";
import type { ReplicaEvent } from "../engine/transitions.ts";
import { PART } from "./route-builder.ts";

import { createRouteFixture, type RouteFixture } from "./route-fixture.ts";
import type { Route, RouteTable } from "@toolyard/routes";

/** A proxy as far as tables go. Parts of one that is not whole yet are kept apart. */
class Reader {
  routes = new Map<string, Route>();
  position = "";
  version = -1;
  #coming: Map<string, Route> | null = null;
  #stream: AsyncIterableIterator<RouteTable> | null = null;
  readonly #fixture: RouteFixture;

  constructor(fixture: RouteFixture) {
    this.#fixture = fixture;
  }

  /** @param anew With another process of the control plane. */
  async connect(anew = false): Promise<void> {
    await this.disconnect();
    const feed = anew ? this.#fixture.anotherFeed() : this.#fixture.feed;
    this.#stream = feed.followChanges(this.position);
  }

  async disconnect(): Promise<void> {
    await this.#stream?.return?.();
    this.#stream = null;
    this.#coming = null;
  }

  /** @param times How often it takes in what comes. */
  async take(times = 1): Promise<void> {
    if (!this.#stream) await this.connect();
    const step = await this.#stream?.next();
    if (!step || step.done) throw new Error("the stream has ended");
    for (let time = 0; time < times; time += 1) this.#apply(step.value);
  }

  #apply({ begins, more, routes, removed, position, version }: RouteTable): void {
    if (begins) this.#coming = new Map();
    const into = this.#coming ?? this.routes;
    for (const route of routes) into.set(route.key, route);
    for (const key of removed) into.delete(key);
    if (more) return;
    this.routes = into;
    this.#coming = null;
    this.position = position;
    this.version = Number(version);
  }

  async catchUp(times = 1): Promise<void> {
    const latest = await this.#fixture.latest();
    if (!this.#stream) await this.take(times);
    while (this.version < latest) await this.take(times);
  }
}

/** What the table must say of these, written out plainly: slug, ref, deployment, why nothing answers, and what answers. */
function expected(
  records: readonly DeploymentRecord[],
  stopped: ReadonlyMap<string, Deployment>,
  stoppedRoutes: number,
): string[] {
  const line = ({ deployment, replicas }: DeploymentRecord, ref: string): string => {
    const serving = replicas.filter(({ state }) => state.phase === "READY" || state.phase === "UNHEALTHY");
    const { toolSlug, id, status, health, reason, desired } = deployment;
    const why =
      desired === "STOP"
        ? "is stopped."
        : status === "RUNNING"
          ? health === "HEALTHY" || health === "DEGRADED"
            ? ""
            : `does not answer. ${reason}`
          : status === "FAILED"
            ? `failed to run. ${reason}`
            : `is starting. ${reason}`;
    return [toolSlug, ref, id, why, ...serving.map(({ id: replica, state }) => `${replica} ${state.phase}`)].join("|");
  };
  const running = records.filter(({ deployment }) => deployment.desired === "RUN");
  const refOf = (environment: Environment) => (environment === "PRODUCTION" ? "" : "staging");
  const shared = [...Map.groupBy(running, placeOf).values()].map((group) => {
    const newestFirst = group.toSorted((a, b) => (a.deployment.id < b.deployment.id ? 1 : -1));
    const active = newestFirst.find(({ deployment }) => deployment.role === "ACTIVE");
    const serves = active?.replicas.some(({ state }) => state.phase === "READY" || state.phase === "UNHEALTHY");
    const starting = newestFirst.find(({ deployment }) => deployment.status === "STARTING");
    const chosen = (serves ? active : (starting ?? active ?? newestFirst[0])) as DeploymentRecord;
    return line(chosen, refOf(chosen.deployment.environment));
  });
  const last = [...stopped.values()].toSorted((a, b) => (a.id < b.id ? 1 : -1)).slice(0, stoppedRoutes);
  return [
    ...shared,
    ...running.map((record) => line(record, record.deployment.name)),
    ...last.map((deployment) => line({ deployment, replicas: [] }, refOf(deployment.environment))),
  ].toSorted();
}

function placeOf({ deployment }: Pick<DeploymentRecord, "deployment">): string {
  return `${deployment.toolId}/${deployment.environment}`;
}

const lineOf = ({ slug, ref, deploymentId, stateReason, targets }: Route): string =>
  [
    slug,
    ref,
    deploymentId,
    (stateReason ?? "").replace(`${slug} `, ""),
    ...targets.map(({ replicaId, ready }) => `${replicaId} ${ready ? "READY" : "UNHEALTHY"}`),
  ].join("|");

const anyEvent: fc.Arbitrary<ReplicaEvent> = fc.oneof(
  fc.constant({ type: "start" as const, generation: 1 }),
  fc.constant({ type: "answered" as const }),
  fc.record({
    type: fc.constant("silent" as const),
    reason: fc.constantFrom("Slow.", "Mute."),
    words: fc.constant(null),
  }),
  fc.constant({ type: "ended" as const, reason: "Over.", words: null }),
  fc.constant({ type: "stop" as const, then: "REMOVE" as const, reason: "Asked." }),
  fc.constant({ type: "gone" as const }),
  fc.constant({ type: "reset" as const }),
);
const anyStep = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("deploy" as const),
      tool: fc.integer({ min: 0, max: 2 }),
      environment: fc.constantFrom<Environment>("PRODUCTION", "STAGING"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("happen" as const), which: fc.nat(), event: anyEvent }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("run" as const), which: fc.nat() }) },
  // A reason that changes while all else stays.
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("news" as const), which: fc.nat(), reason: fc.constantFrom("A.", "B.") }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("stop" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("shift" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("catch up" as const), times: fc.constantFrom(1, 2) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("connect" as const), anew: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant({ do: "disconnect" as const }) },
);

test("a table by changes is the whole one, whatever happens and however often its reader goes away", async () => {
  const stoppedRoutes = 2;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(anyStep, fc.boolean()), { maxLength: 30, size: "max" }), async (steps) => {
      await using fixture = await createRouteFixture({ stoppedRoutes });
      const { store, changes } = fixture;
      const reader = new Reader(fixture);
      const deployments: Deployment[] = [];
      const stopped = new Map<string, Deployment>();
      const pick = (which: number) => deployments[which % Math.max(1, deployments.length)];

      /** As the store has them by now. */
      async function noteStopped(): Promise<DeploymentRecord[]> {
        const records: DeploymentRecord[] = [];
        for (const { id } of deployments) {
          const record = await store.load(id);
          if (record) records.push(record);
        }
        for (const [place, group] of Map.groupBy(records, placeOf)) {
          const last = group.at(-1);
          if (group.some(({ deployment }) => deployment.desired === "RUN")) stopped.delete(place);
          else if (last && !stopped.has(place)) throw new Error("nobody noted which was the last");
        }
        return records;
      }

      async function agree(): Promise<void> {
        await reader.catchUp();
        expect(await fixture.feed.version()).toBe(String(reader.version));
        const records = await noteStopped();
        const wanted = expected(records, stopped, stoppedRoutes);
        expect([...reader.routes.values()].map(lineOf).toSorted()).toEqual(wanted);
        expect((await fixture.feed.read()).routes.map(lineOf).toSorted()).toEqual(wanted);
      }

      try {
        for (const [step, isLookedAt] of steps) {
          const chosen = "which" in step ? pick(step.which) : undefined;
          switch (step.do) {
            case "deploy":
              deployments.push(await fixture.deploy(`tool-${step.tool}`, step.environment));
              break;
            case "happen":
              if (chosen) await fixture.happen(chosen, step.event);
              break;
            case "run":
              if (chosen) await fixture.run(chosen);
              break;
            case "news": {
              const [replica] = chosen ? await store.replicasOf([chosen.id]) : [];
              if (chosen && replica?.state.phase === "STARTING")
                await changes.update({
                  deploymentId: chosen.id,
                  replicaId: replica.id,
                  set: ({ state }) => ({ state: { ...state, reason: step.reason, words: null } as typeof state }),
                });
              break;
            }
            case "stop": {
              const before = chosen && (await store.find(chosen.id));
              if (!chosen || before?.desired !== "RUN") break;
              await fixture.stop(chosen);
              const others = await store.inPlace([chosen.toolId]);
              if (!others.some(({ environment }) => environment === chosen.environment))
                stopped.set(placeOf({ deployment: chosen }), { ...chosen, desired: "STOP" });
              break;
            }
            case "shift":
              if (chosen) await shiftRoute(store, chosen.id, Date.now());
              break;
            case "catch up":
              await reader.catchUp(step.times);
              break;
            case "connect":
              await reader.connect(step.anew);
              await reader.take();
              break;
            case "disconnect":
              await reader.disconnect();
              break;
          }
          await noteStopped();
          if (isLookedAt) await agree();
        }
        await agree();
      } finally {
        await reader.disconnect();
      }
    }),
    { numRuns: 60 },
  );
});

test("a table of several parts changes hands only when it has come whole", async () => {
  await using fixture = await createRouteFixture({ stoppedRoutes: 3 });
  for (let tool = 0; tool < PART * 2 + 10; tool += 1) await fixture.deploy(`tool-${tool}`);
  const parts = fixture.feed.followChanges("");
  const read: RouteTable[] = [];
  do {
    const step = await parts.next();
    if (!step.done) read.push(step.value);
  } while (read.at(-1)?.more);
  await parts.return?.();
  expect(read.map(({ begins, more }) => ({ begins, more }))).toEqual([
    { begins: true, more: true },
    { begins: false, more: true },
    { begins: false, more: false },
  ]);
  expect(read.every(({ routes }) => routes.length <= 2 * PART)).toBe(true);
  const keys = read.flatMap(({ routes }) => routes.map(({ key }) => key));
  expect(keys).toHaveLength(2 * (PART * 2 + 10));
  expect(new Set(keys).size).toBe(keys.length);
});

test("who comes again is told what has changed since; another process, and who fell behind the log, begins anew", async () => {
  await using fixture = await createRouteFixture({ stoppedRoutes: 3 });
  const first = async (feed: RouteFixture["feed"], position: string): Promise<RouteTable> => {
    const stream = feed.followChanges(position);
    const step = await stream.next();
    await stream.return?.();
    if (step.done) throw new Error("the stream has ended");
    return step.value;
  };
  await fixture.deploy("weather");
  const whole = await first(fixture.feed, "");
  expect(whole).toMatchObject({ begins: true, more: false, routes: [{ slug: "weather" }, { slug: "weather" }] });
  expect(await first(fixture.feed, whole.position)).toMatchObject({ begins: false, routes: [], removed: [] });
  expect(await first(fixture.anotherFeed(), whole.position)).toMatchObject({ begins: true });
  for (const rubbish of ["1", "..", "x.y.z", `${whole.position}.1`]) {
    const { begins } = await first(fixture.feed, rubbish);
    expect([rubbish, begins]).toEqual([rubbish, true]);
  }
  await fixture.trim();
  expect(await first(fixture.feed, whole.position)).toMatchObject({ begins: false });
  await fixture.deploy("traffic");
  await fixture.trim();
  expect(await first(fixture.feed, whole.position)).toMatchObject({ begins: true });
});
