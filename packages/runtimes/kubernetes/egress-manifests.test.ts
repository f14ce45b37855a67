import { expect, test } from "vitest";
import { policiesThatLetOut } from "./egress-manifests.ts";

const policy = (name: string, podSelector: object, egress: object[] = [{}]) => ({
  metadata: { name },
  spec: { podSelector, egress },
});
const exists = (operator: string, values?: string[]) => ({
  matchExpressions: [{ key: "toolyard.dev/egress", operator, ...(values && { values }) }],
});

test("a policy that selects a pod and lets it reach anything is found, unless it is the pod's own", () => {
  const labels = { "app.kubernetes.io/managed-by": "toolyard", "toolyard.dev/egress": "listed" };
  const policies = [
    policy("own", {}),
    policy("of all", {}),
    policy("of none", {}, []),
    policy("of toolyard", { matchLabels: { "app.kubernetes.io/managed-by": "toolyard" } }),
    policy("of others", { matchLabels: { "app.kubernetes.io/managed-by": "helm" } }),
    policy("without", exists("DoesNotExist")),
    policy("with", exists("Exists")),
    policy("in", exists("In", ["listed"])),
    policy("in others", exists("In", ["other"])),
    policy("not in", exists("NotIn", ["other"])),
    policy("not in its own", exists("NotIn", ["listed"])),
  ];
  expect(policiesThatLetOut(policies, labels, "own")).toEqual(["of all", "of toolyard", "with", "in", "not in"]);
});
