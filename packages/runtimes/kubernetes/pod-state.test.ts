import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { stateOf, whyNoPod } from "./pod-state.ts";

/** As a cluster of Kubernetes 1.34 said it. */
const recorded = JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/recorded-pods.json"), "utf8")) as {
  pods: Record<string, V1Pod>;
  deployments: Record<string, V1Deployment>;
};
const pod = (name: string): V1Pod => {
  const found = recorded.pods[name];
  if (!found) throw new Error(`no pod ${name} was recorded`);
  return found;
};
const ended = (end: object, previous = false) => ({
  phase: "ENDED",
  end: expect.objectContaining({ alive: false, ...end }),
  previous,
  probedSince: null,
});
const refusedAs = (code: string, words: string) => ({
  phase: "WAITING",
  refusal: expect.objectContaining({ code, message: expect.stringContaining(words) }),
});
const waits = (reason: unknown) => ({ phase: "WAITING", reason, refusal: null });

test("a pod runs since its container does", () => {
  const startedAt = pod("running/running0").status?.containerStatuses?.[0]?.state?.running?.startedAt;
  expect(stateOf(pod("running/running0"))).toEqual({ phase: "RUNNING", startedAt: Date.parse(String(startedAt)) });
});

test.each([
  ["crashes/terminated:Error", ended({ exitCode: 3, signal: null })],
  [
    "crashes/CrashLoopBackOff",
    ended({ exitCode: 3, why: expect.stringContaining("started it again once (CrashLoopBackOff)") }),
  ],
  ["crashes/running2", ended({ exitCode: 3 }, true)],
  [
    "out-of-memory/terminated:OOMKilled",
    ended({
      exitCode: null,
      signal: "SIGKILL",
      why: "It ran out of memory, of which it may use 64 MB (resources.memoryMb in the launch).",
    }),
  ],
  [
    "out-of-memory/running2",
    ended(
      { signal: "SIGKILL", why: "It ran out of memory, of which it may use 64 MB (resources.memoryMb in the launch)." },
      true,
    ),
  ],
  [
    "fills-disk/terminated:Error",
    ended({ why: 'The cluster ended it (Evicted). Usage of EmptyDir volume "tmp" exceeds the limit "16Mi".' }),
  ],
  ["deleted/terminated:Error/deleting", ended({ exitCode: null, signal: "SIGTERM" })],
])("%s is an end", (name, state) => {
  expect(stateOf(pod(name))).toEqual(state);
});

test.each([
  ["4Gi", "4096 MB"],
  ["1Ti", "1048576 MB"],
  ["1536Mi", "1536 MB"],
])("a limit of %s that was not enough is said in the unit of the launch", (memory, said) => {
  const ranOut = structuredClone(pod("out-of-memory/terminated:OOMKilled"));
  const container = ranOut.spec?.containers[0];
  if (!container) throw new Error("not recorded");
  container.resources = { limits: { memory } };
  const why = `It ran out of memory, of which it may use ${said} (resources.memoryMb in the launch).`;
  expect(stateOf(ranOut)).toEqual(ended({ signal: "SIGKILL", why }));
});

test("a run that is not the replica's first is its own, as found by the next control plane", () => {
  expect(stateOf(pod("crashes/running2"), 2)).toMatchObject({ phase: "RUNNING" });
});

test("a pod that is deleted while it runs has ended, since its cluster makes another", () => {
  const deleted = structuredClone(pod("running/running0"));
  if (!deleted.metadata || !deleted.status) throw new Error("not recorded");
  deleted.metadata.deletionTimestamp = new Date();
  expect(stateOf(deleted)).toEqual(ended({ exitCode: null, why: expect.stringContaining("deleted") }));
  const condition = {
    type: "DisruptionTarget",
    status: "True",
    reason: "EvictionByEvictionAPI",
    message: "Eviction API: evicting",
  };
  deleted.status.conditions = [condition];
  expect(stateOf(deleted)).toEqual(
    ended({ why: "The cluster ended it (EvictionByEvictionAPI). Eviction API: evicting." }),
  );
});

test.each([
  ["image-invalid/InvalidImageName", refusedAs("BAD_USER_INPUT", "must be lowercase")],
  [
    "image-unreachable/ErrImagePull",
    refusedAs("UPSTREAM_UNAVAILABLE", "refused. If no registry has it, build or load it"),
  ],
  ["image-unreachable/ImagePullBackOff", refusedAs("UPSTREAM_UNAVAILABLE", "127.0.0.1:1/nobody/nothing:1")],
  ["no-command/RunContainerError", refusedAs("BAD_USER_INPUT", "no such file or directory")],
  ["no-command/CrashLoopBackOff", refusedAs("BAD_USER_INPUT", "no such file or directory")],
  ["root-refused/CreateContainerConfigError", refusedAs("BAD_USER_INPUT", "image will run as root")],
  ["secret-missing/CreateContainerConfigError", refusedAs("BAD_USER_INPUT", 'secret "none" not found')],
  [
    "unschedulable/Pending",
    waits(expect.stringMatching(/^No node of the cluster can take it\..*didn't match Pod's node affinity\/selector/)),
  ],
  ["too-large/Pending", waits(expect.stringContaining("Insufficient memory"))],
  ["deleted/ContainerCreating", waits(expect.stringContaining("makes its container"))],
])("%s waits, and why is said", (name, state) => {
  expect(stateOf(pod(name))).toMatchObject(state);
});

test("what a node will manage later is waited for", () => {
  const late = structuredClone(pod("secret-missing/CreateContainerConfigError"));
  const waiting = late.status?.containerStatuses?.[0]?.state?.waiting;
  if (!waiting) throw new Error("not recorded");
  waiting.message = "failed to sync configmap cache: timed out waiting for the condition";
  expect(stateOf(late)).toEqual(waits(expect.stringContaining("failed to sync configmap cache")));
});

test.each([
  ["manifest unknown: manifest unknown", "BAD_USER_INPUT", "There is no image"],
  ["unexpected status: 401 Unauthorized", "BAD_USER_INPUT", "does not give out the image"],
])("a registry that says %j is told as one", (message, code, words) => {
  const broken = structuredClone(pod("image-unreachable/ErrImagePull"));
  const waiting = broken.status?.containerStatuses?.[0]?.state?.waiting;
  if (waiting) waiting.message = message;
  expect(stateOf(broken)).toMatchObject(refusedAs(code, words));
});

test("why a Deployment makes no pod is said: rules of the cluster, or its quota, which may have room later", () => {
  const { privileged, quota, running } = recorded.deployments;
  if (!privileged || !quota || !running) throw new Error("not recorded");
  expect(whyNoPod(privileged)).toMatchObject(refusedAs("BAD_USER_INPUT", 'violates PodSecurity "baseline:latest"'));
  expect(whyNoPod(quota)).toMatchObject(waits(expect.stringContaining("exceeded quota: q")));
  expect(whyNoPod(running)).toBeNull();
});
