import fc from "fast-check";
import { expect, test } from "vitest";
import type { Replica, ReplicaState } from "../deployment.ts";
import { launchSchema } from "@toolyard/launch";
import { mostAttempts } from "./backoff.ts";
import { decide, nextLook, type Action, type DesiredDeployment, type ObservedReplica } from "./decide.ts";
import { isSettled } from "./settle.ts";
import { deriveStatus } from "./status.ts";
import { transition, type ReplicaEvent } from "./transitions.ts";

const policy = launchSchema.parse({ kind: "stdio", command: "x" }).options.health;
const PORTS = 8;

type Place = Pick<
  Replica,
  "id" | "ordinal" | "state" | "generation" | "incarnation" | "attempts" | "restarts" | "lastProbeAt" | "port"
>;
/** One process of the simulated host. */
interface Process {
  replicaId: string;
  incarnation: number;
  port: number;
  answers: boolean;
}
type Fault =
  "in-use" | "die" | "mute" | "refuse-start" | "lose-work" | "kill-control-plane" | "slow-stop" | "lose-host";

/** Rows and processes of one deployment, and a reconciler that does what `decide` says, faults apart. */
function createModel(desired: DesiredDeployment) {
  const model = {
    desired,
    places: [] as Place[],
    processes: [] as Process[],
    /** Ids of replicas whose host is gone. */
    lost: new Set<string>(),
    now: 0,
    made: 0,
    shifted: desired.role === "ACTIVE",
    inherited: 0,
    /** Whether every replica has calls. */
    isUsed: false,
  };

  const runs = (place: Place): boolean =>
    model.processes.some(({ replicaId, incarnation }) => replicaId === place.id && incarnation === place.incarnation);

  function observe(): ObservedReplica[] {
    return model.places.map((place) => {
      const isUnused = !model.isUsed;
      if (model.lost.has(place.id)) return { ...place, isUnused, process: "LOST" };
      return { ...place, isUnused, process: place.incarnation === 0 ? "ABSENT" : runs(place) ? "RUNNING" : "GONE" };
    });
  }

  function apply(place: Place, event: ReplicaEvent): void {
    const after = transition(place, event, {
      policy,
      mostAttempts: mostAttempts(model.desired),
      now: model.now,
      random: 0.5,
    });
    if (!after) return;
    Object.assign(place, after);
    if (place.state.phase === "FAILED") place.port = null;
    if (place.state.phase === "STOPPED") model.places.splice(model.places.indexOf(place), 1);
    if (place.state.phase === "READY") Object.assign(model.desired, { everReady: true, deployedAt: model.now });
  }

  const freePort = (): number | null => {
    for (let port = 0; port < PORTS; port += 1)
      if (
        !model.places.some((place) => place.port === port) &&
        !model.processes.some((process) => process.port === port)
      )
        return port;
    return null;
  };
  const endProcesses = (replicaId: string): void => {
    model.processes = model.processes.filter((process) => process.replicaId !== replicaId);
  };

  function perform(action: Action, faults: Set<Fault>): void {
    if (faults.has("lose-work")) return;
    if (action.type === "mark") {
      Object.assign(model.desired, deriveStatus(model.desired, model.places));
      return;
    }
    if (action.type === "shift") {
      model.desired.role = "ACTIVE";
      model.shifted = true;
      return;
    }
    if (action.type === "scale") {
      model.desired.desiredReplicas = action.replicas;
      model.inherited = model.processes.length;
      return;
    }
    if (action.type === "create") {
      const port = freePort();
      if (port === null || model.places.some(({ ordinal }) => ordinal === action.ordinal)) return;
      model.places.push(
        place(`r${(model.made += 1)}`, action.ordinal, port, { phase: "PENDING" }, model.desired.generation),
      );
      return;
    }
    const found = model.places.find(({ id }) => id === action.replicaId);
    if (!found) return;
    const { autoscale, desired: asked } = model.desired;
    const isInUse = found.state.phase === "READY" && model.isUsed && autoscale !== null && asked === "RUN";
    if (isInUse && (action.type === "release" || (action.type === "stop" && action.then === "REMOVE")) && runs(found))
      throw new Error("a replica is stopped that has calls");
    switch (action.type) {
      case "start": {
        if (found.state.phase !== "STARTING") {
          found.port ??= freePort();
          if (found.port === null) return apply(found, { type: "ended", reason: "no port", words: null });
          apply(found, { type: "start", generation: model.desired.generation });
        }
        if (faults.has("kill-control-plane")) return;
        if (faults.has("refuse-start")) return apply(found, { type: "ended", reason: "refused", words: null });
        if (!runs(found) && found.port !== null)
          model.processes.push({
            replicaId: found.id,
            incarnation: found.incarnation,
            port: found.port,
            answers: !faults.has("mute"),
          });
        return;
      }
      case "await":
      case "probe": {
        const running = model.processes.find(({ replicaId }) => replicaId === found.id);
        found.lastProbeAt = model.now;
        return apply(found, running?.answers ? { type: "answered" } : { type: "silent", reason: "mute", words: null });
      }
      case "reap":
        endProcesses(found.id);
        return apply(found, { type: "ended", reason: "gone", words: null });
      case "retire":
      case "recall":
        return apply(found, { type: action.type });
      case "stop":
      case "release":
        if (action.type === "release") apply(found, { type: "stop", then: "REMOVE", reason: "unused" });
        else apply(found, { type: "stop", then: action.then, reason: action.reason });
        if (faults.has("slow-stop")) return;
        endProcesses(found.id);
        return apply(found, { type: "gone" });
      case "reset":
        return apply(found, { type: "reset" });
      case "move":
        if (!model.lost.delete(found.id)) return;
        apply(found, { type: "lost", reason: "its host is gone" });
        if (action.remove) return apply(found, { type: "stop", then: "REMOVE", reason: "asked" });
        if (found.incarnation > 0) found.incarnation += 1;
    }
  }

  return {
    model,
    observe,
    /** One round: decides, does it all twice over when `twice`, and checks what must always hold. */
    round(faults: Set<Fault>, twice: boolean, scaleTo: number | null = null): Action[] {
      if (scaleTo !== null) {
        if (model.desired.autoscale) model.desired.wantedByLoad = scaleTo;
        else model.desired.desiredReplicas = scaleTo;
        model.inherited = model.processes.length;
      }
      model.isUsed = faults.has("in-use");
      if (faults.has("die")) model.processes.shift();
      const [first] = model.places;
      if (faults.has("lose-host") && first) {
        endProcesses(first.id);
        model.lost.add(first.id);
      }
      if (faults.has("mute")) for (const process of model.processes) process.answers = false;
      const actions = decide(model.desired, observe(), model.now);
      for (const action of actions) {
        perform(action, faults);
        if (twice) perform(action, faults);
        checkInvariants();
      }
      model.now += 1_000;
      return actions;
    },
  };

  function checkInvariants(): void {
    const wanted = model.desired.desired === "STOP" ? 0 : model.desired.desiredReplicas;
    // What ran from the beginning may still be stopping.
    if (model.processes.length > Math.max(wanted, model.inherited) + 1)
      throw new Error(`${model.processes.length} processes for ${wanted}`);
    const ports = model.processes.map(({ port }) => port);
    if (new Set(ports).size !== ports.length) throw new Error("a port serves two replicas");
    const rows = model.places.flatMap(({ port }) => (port === null ? [] : [port]));
    if (new Set(rows).size !== rows.length) throw new Error("a port is reserved twice");
  }
}
function place(id: string, ordinal: number, port: number | null, state: ReplicaState, generation: number): Place {
  return {
    id,
    ordinal,
    state,
    generation,
    incarnation: state.phase === "PENDING" ? 0 : 1,
    attempts: 0,
    restarts: 0,
    lastProbeAt: null,
    port,
  };
}

const anyState: fc.Arbitrary<ReplicaState> = fc.oneof(
  fc.constant<ReplicaState>({ phase: "PENDING" }),
  fc.constant<ReplicaState>({ phase: "STARTING", since: 0 }),
  fc.constant<ReplicaState>({ phase: "READY", since: 0 }),
  fc.constant<ReplicaState>({ phase: "READY", since: 0, retiringSince: 0 }),
  fc.constant<ReplicaState>({ phase: "UNHEALTHY", since: 0, failures: 1, successes: 0, reason: "mute", words: null }),
  fc.constant<ReplicaState>({ phase: "BACKOFF", until: 5_000, reason: "gone", words: null }),
  fc
    .constantFrom("REMOVE" as const, "RESTART" as const, "RETRY" as const)
    .map((then): ReplicaState => ({ phase: "STOPPING", since: 0, then, reason: "asked", words: null })),
  fc.constant<ReplicaState>({ phase: "FAILED", reason: "used up", words: null }),
);
const anyDesired = fc.record({
  desired: fc.constantFrom("RUN" as const, "STOP" as const),
  desiredReplicas: fc.integer({ min: 0, max: 4 }),
  autoscale: fc.constantFrom(null, { min: 0, max: 4, targetConcurrentCalls: 1, idleSeconds: 10 }),
  wantedByLoad: fc.constant<number | null>(null),
  readyBefore: fc.constant(0),
  generation: fc.integer({ min: 1, max: 2 }),
  everReady: fc.boolean(),
  deployedAt: fc.constantFrom(null, 0),
  role: fc.constantFrom("PENDING" as const, "ACTIVE" as const),
});
const anyRound = fc.record({
  faults: fc.uniqueArray(
    fc.constantFrom<Fault>(
      "in-use",
      "die",
      "mute",
      "refuse-start",
      "lose-work",
      "kill-control-plane",
      "slow-stop",
      "lose-host",
    ),
    { maxLength: 2 },
  ),
  twice: fc.boolean(),
  scaleTo: fc.option(fc.integer({ min: 0, max: 4 }), { freq: 3 }),
});

test("from any state, under any faults that end, what runs becomes what was asked", () => {
  fc.assert(
    fc.property(
      anyDesired,
      fc.array(fc.tuple(anyState, fc.boolean()), { maxLength: 5 }),
      fc.array(anyRound, { maxLength: 12 }),
      (desired, states, rounds) => {
        const { model, round, observe } = createModel({
          ...desired,
          status: "STARTING",
          health: "UNKNOWN",
          reason: null,
          words: null,
          probeIntervalMs: 3_000,
        });
        states.forEach(([state, runs], ordinal) => {
          const made = place(`s${ordinal}`, ordinal, state.phase === "FAILED" ? null : ordinal, state, 1);
          model.places.push(made);
          const mayRun = ["STARTING", "READY", "UNHEALTHY", "STOPPING"].includes(state.phase);
          if (runs && mayRun)
            model.processes.push({ replicaId: made.id, incarnation: 1, port: ordinal, answers: true });
        });
        model.inherited = model.processes.length;
        for (const { faults, twice, scaleTo } of rounds) round(new Set(faults), twice, scaleTo);
        // Long enough for every back-off and every try.
        for (let quiet = 0; quiet < 900; quiet += 1) round(new Set(), false);

        const wanted = desired.desired === "STOP" ? 0 : model.desired.desiredReplicas;
        const phases = model.places.map(({ state }) => state.phase);
        expect(model.places).toHaveLength(wanted);
        expect(phases.every((phase) => phase === "READY" || phase === "FAILED")).toBe(true);
        const ready = model.places.filter(({ state }) => state.phase === "READY");
        expect(model.processes).toHaveLength(ready.length);
        expect(
          ready.every((one) =>
            model.processes.some(({ replicaId, port }) => replicaId === one.id && port === one.port),
          ),
        ).toBe(true);
        const derived = deriveStatus(model.desired, model.places);
        expect(model.desired).toMatchObject(derived);
        if (desired.desired === "STOP") expect(derived.status).toBe("STOPPED");
        // At rest: only probes go on.
        expect(decide(model.desired, observe(), model.now).filter(({ type }) => type !== "probe")).toEqual([]);
        if (desired.desired === "RUN" && ready.length > 0) expect(model.shifted).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});

test("the route is taken over with all replicas that load calls for, but those that have failed, and with none before", () => {
  const serving = fc.constantFrom<ReplicaState>(
    { phase: "READY", since: 0 },
    { phase: "STARTING", since: 0 },
    { phase: "FAILED", reason: "used up", words: null },
  );
  fc.assert(
    fc.property(
      anyDesired,
      fc.integer({ min: 1, max: 4 }),
      fc.array(serving, { maxLength: 6 }),
      (desired, load, states) => {
        const wantedByLoad = Math.max(load, desired.desiredReplicas);
        const replicas = states.map((state, ordinal): ObservedReplica => ({
          id: `r${ordinal}`,
          ordinal,
          generation: desired.generation,
          state,
          attempts: 0,
          lastProbeAt: null,
          process: "RUNNING",
        }));
        const deployment = {
          ...desired,
          ...deriveStatus(desired, replicas),
          desired: "RUN" as const,
          role: "PENDING" as const,
          wantedByLoad,
          probeIntervalMs: 1_000,
        };
        const shifts = decide(deployment, replicas, 0).some(({ type }) => type === "shift");
        const kept = desired.desiredReplicas;
        // More than are wanted go, those first that serve nothing.
        const [ready, failed] = ["READY", "FAILED"].map(
          (phase) => states.filter((state) => state.phase === phase).length,
        );
        if (shifts) expect(Math.min(kept, ready! + failed!)).toBeGreaterThanOrEqual(wantedByLoad);
        if (ready! >= kept && kept > 0) expect(shifts).toBe(kept === wantedByLoad);
      },
    ),
  );
});

test("nothing is started that would make more than one process above what was asked", () => {
  fc.assert(
    fc.property(anyDesired, fc.array(anyState, { maxLength: 10 }), (desired, states) => {
      const observed = states.map((state, ordinal): ObservedReplica => ({
        id: `r${ordinal}`,
        ordinal,
        generation: 1,
        state,
        attempts: 0,
        lastProbeAt: null,
        process: "RUNNING",
      }));
      const actions = decide(
        { ...desired, status: "STARTING", health: "UNKNOWN", reason: null, words: null, probeIntervalMs: 1_000 },
        observed,
        10_000,
      );
      const occupied = states.filter(({ phase }) =>
        ["STARTING", "READY", "UNHEALTHY", "STOPPING"].includes(phase),
      ).length;
      const starts = actions.filter(
        (action) => action.type === "start" && states[Number(action.replicaId.slice(1))]?.phase !== "STARTING",
      ).length;
      const wanted = desired.desired === "STOP" ? 0 : desired.desiredReplicas;
      if (starts > 0) expect(occupied + starts).toBeLessThanOrEqual(wanted + 1);
      const ordinals = actions.flatMap((action) => (action.type === "create" ? [action.ordinal] : []));
      expect(new Set([...ordinals, ...states.map((_, ordinal) => ordinal)]).size).toBe(ordinals.length + states.length);
    }),
    { numRuns: 300 },
  );
});

test("for what is settled there is nothing to do, now or later; for what is not settled there is, or something runs or is on its way", () => {
  const phases = fc.oneof(fc.constant<ReplicaState>({ phase: "FAILED", reason: "used up", words: null }), anyState);
  const places = fc.array(fc.record({ state: phases, generation: fc.integer({ min: 1, max: 2 }) }), { maxLength: 3 });
  fc.assert(
    fc.property(anyDesired, places, (desired, states) => {
      const replicas = states.map(({ state, generation }, ordinal): ObservedReplica => ({
        id: `r${ordinal}`,
        ordinal,
        generation,
        state,
        attempts: 0,
        lastProbeAt: null,
        process: state.phase === "PENDING" ? "ABSENT" : "GONE",
      }));
      const derived = deriveStatus(desired, replicas);
      const deployment = { ...desired, ...derived, probeIntervalMs: 1_000 };
      const actions = decide(deployment, replicas, 10_000);
      const isQuiet = actions.length === 0 && nextLook(deployment, replicas) === null;
      if (isSettled(desired, derived.status, replicas)) expect(isQuiet).toBe(true);
      // Scaled to zero, it is RUNNING.
      else if (isQuiet) expect(derived.status).toBe("RUNNING");
    }),
    { numRuns: 2_000 },
  );
});

test("a clock that was set back holds up neither a restart nor a probe", () => {
  const HOUR_MS = 3_600_000;
  const at = (state: ReplicaState): ObservedReplica => ({
    id: "r0",
    ordinal: 0,
    generation: 1,
    state,
    attempts: 1,
    lastProbeAt: state.phase === "READY" ? HOUR_MS : null,
    process: state.phase === "READY" ? "RUNNING" : "GONE",
  });
  const actionsAt = (state: ReplicaState, now: number) => {
    const [desired] = fc.sample(anyDesired, 1);
    const said = { status: "RUNNING", health: "HEALTHY", reason: null, words: null } as const;
    const asked = { desired: "RUN", desiredReplicas: 1, generation: 1, probeIntervalMs: 1_000 } as const;
    return decide({ ...desired!, ...said, ...asked }, [at(state)], now).map(({ type }) => type);
  };
  const backOff: ReplicaState = { phase: "BACKOFF", until: HOUR_MS + 30_000, reason: "it ended", words: null };
  expect(actionsAt(backOff, HOUR_MS)).not.toContain("start");
  expect(actionsAt(backOff, 0)).toContain("start");
  const ready: ReplicaState = { phase: "READY", since: HOUR_MS };
  expect(actionsAt(ready, HOUR_MS)).not.toContain("probe");
  expect(actionsAt(ready, 0)).toContain("probe");
});

test("a server that never works is tried five times and is FAILED", () => {
  const { model, round } = createModel({
    desired: "RUN",
    desiredReplicas: 1,
    autoscale: null,
    wantedByLoad: null,
    readyBefore: 0,
    generation: 1,
    everReady: false,
    deployedAt: null,
    role: "ACTIVE",
    status: "STARTING",
    health: "UNKNOWN",
    reason: null,
    words: null,
    probeIntervalMs: 3_000,
  });
  let starts = 0;
  for (let second = 0; second < 900; second += 1)
    starts += round(new Set<Fault>(["refuse-start"]), false).filter(({ type }) => type === "start").length;
  expect(starts).toBe(mostAttempts({ deployedAt: null }));
  expect(model.desired).toMatchObject({ status: "FAILED", health: "UNHEALTHY" });
});
