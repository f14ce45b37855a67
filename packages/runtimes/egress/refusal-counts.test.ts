import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { expect, test } from "vitest";
import { createRefusalCounts, MAX_COUNTED } from "./refusal-counts.ts";

test("of so many deployments each has its count, and of all others none is lost", () => {
  const counts = createRefusalCounts(createLogger({ level: "silent", name: "egress" }));
  const refuse = (deploymentId: string, count: number) =>
    counts.note({ name: "replica", deploymentId }, JSON.stringify({ refused: "a.test:443", count }));
  refuse("first", 1);
  refuse("second", 2);
  refuse("third", 5);
  counts.note({ name: "replica", deploymentId: "none" }, "no refusal");
  refuse("first", 3);
  for (let number = 2; number < MAX_COUNTED; number++) refuse(`deployment-${number}`, 1);
  expect(counts.byDeployment.has("second")).toBe(false);
  expect(counts.byDeployment.get("first")).toBe(4);
  for (let number = 0; number < 3 * MAX_COUNTED; number++) refuse(`later-${number}`, 1);
  expect(counts.byDeployment.size).toBe(MAX_COUNTED);
  const sum = [...counts.byDeployment.values()].reduce((total, count) => total + count, 0);
  expect(sum).toBe(4 + 2 + 5 + (MAX_COUNTED - 2) + 3 * MAX_COUNTED);
});
