import { expect, test } from "vitest";
import type { DeploymentRecord } from "./store/deployment-store.ts";
import { deploymentOf } from "./deployment-fixture.ts";
import { newReplica } from "./deploying/new-replica.ts";
import { egressGauges, MAX_DEPLOYMENTS, replicaGauges } from "./replica-gauges.ts";

function recordOf(name: string, phases: readonly ("READY" | "STARTING")[]): DeploymentRecord {
  const deployment = deploymentOf({ name });
  const replicas = phases.map((phase, ordinal) => ({
    ...newReplica({ deployment, ordinal, place: { hostId: "h", address: "a", port: null } }),
    state: { phase, since: 0 },
  }));
  return { deployment, replicas };
}
const valuesOf = (records: readonly DeploymentRecord[]) =>
  replicaGauges(records).map(({ labels, value }) => [labels["deployment"], labels["state"], value]);

test("each deployment has a count of replicas that answer, and of those that do not", () => {
  expect(valuesOf([recordOf("weather-1", ["READY", "STARTING", "READY"]), recordOf("idle-1", [])])).toEqual([
    ["weather-1", "ready", 2],
    ["weather-1", "not_ready", 1],
    ["idle-1", "ready", 0],
    ["idle-1", "not_ready", 0],
  ]);
});

test("deployments beyond a number are counted together, the newest", () => {
  const records = Array.from({ length: MAX_DEPLOYMENTS + 2 }, (_, n) => recordOf(`d-${n}`, ["READY"]));
  const values = valuesOf(records.toReversed());
  expect(new Set(values.map(([name]) => name)).size).toBe(MAX_DEPLOYMENTS + 1);
  expect(values).toContainEqual(["other deployments", "ready", 2]);
  expect(values).toContainEqual(["d-0", "ready", 1]);
});

test("what runtimes refused is counted by deployment; what is of none that runs here, together", () => {
  const weather = recordOf("weather-1", ["READY"]);
  const records = [weather, recordOf("quiet-1", ["READY"])];
  const { id } = weather.deployment;
  const refusals = [{ [id]: 2 }, { [id]: 1, gone: 4, "also-gone": 5 }].map((each) => new Map(Object.entries(each)));
  const runtimes = [...refusals.map((each) => ({ egressRefusals: () => each })), {}];
  expect(egressGauges(records, runtimes).map(({ labels, value }) => [labels["deployment"], value])).toEqual([
    ["other deployments", 9],
    ["weather-1", 3],
  ]);
  expect(egressGauges([], [{}])).toMatchObject([{ labels: { deployment: "other deployments" }, value: 0 }]);
});
