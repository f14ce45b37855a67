import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSchema, isEnumType, isUnionType } from "graphql";
import { expect, test } from "vitest";
import { TASK_KINDS, TASK_RESULT_TYPES, TASK_STATUSES } from "./task.ts";

const read = (path: string) => readFileSync(join(import.meta.dirname, "..", "..", path), "utf8");
// The analysis subgraph's SDL is what all tasks are served by.
const schema = buildSchema(read("subgraphs/analysis/generated/schema.graphql"), { assumeValidSDL: true });

const valuesOf = (name: string): string[] => {
  const type = schema.getType(name);
  return isEnumType(type) ? type.getValues().map((value) => value.name) : [];
};

test("the graph has the kinds and states of tasks that there are", () => {
  expect(valuesOf("TaskKind")).toEqual(TASK_KINDS);
  expect(valuesOf("TaskStatus")).toEqual(TASK_STATUSES);
});

test("each kind's result is of the graph's union", () => {
  const union = schema.getType("TaskResult");
  const members = isUnionType(union) ? union.getTypes().map(({ name }) => name) : [];
  expect(members.toSorted()).toEqual(Object.values(TASK_RESULT_TYPES).toSorted());
});
