import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Kind, parse, valueFromASTUntyped, type InputValueDefinitionNode } from "graphql";
import { expect, test } from "vitest";
import { DEFAULT_MCP_PATH, LIMITS, type Limit } from "./limits.ts";
import { withLimits } from "./limits-sdl.ts";
import { launchInput } from "./launch-input.ts";
import { launchSchema } from "./launch.ts";

const read = (name: string) => parse(withLimits(readFileSync(join(import.meta.dirname, name), "utf8")));
const inputs = read("launch-input.graphql").definitions.filter(
  (each) => each.kind === Kind.INPUT_OBJECT_TYPE_DEFINITION,
);
const outputs = read("launch.graphql").definitions.filter((each) => each.kind === Kind.OBJECT_TYPE_DEFINITION);

const FIELDS: readonly [string, string, Limit][] = Object.entries({
  LaunchOptions: LIMITS.options,
  HealthOptions: LIMITS.health,
  Resources: LIMITS.resources,
  StdioLaunch: LIMITS.stdio,
  ImageLaunch: LIMITS.image,
}).flatMap(([type, limits]) => Object.entries<Limit>(limits).map(([field, limit]) => [type, field, limit] as const));

function inputField(type: string, name: string): InputValueDefinitionNode {
  const field = inputs
    .find((each) => each.name.value === `${type}Input`)
    ?.fields?.find((each) => each.name.value === name);
  if (!field) throw new Error(`${type}Input has no ${name}`);
  return field;
}

test.each(FIELDS)("the schema says of %s.%s what holds", (type, name, limit) => {
  const { defaultValue, description } = inputField(type, name);
  expect(defaultValue ? valueFromASTUntyped(defaultValue) : null).toBe(limit.default);
  expect(description?.value).toContain(`${limit.least} to ${limit.most}`);
  const shown = outputs.find((each) => each.name.value === type)?.fields?.find((each) => each.name.value === name);
  if (limit.whenNull === undefined) return;
  expect(description?.value).toContain(`Null: ${limit.whenNull}`);
  expect(shown?.description?.value).toContain(`Null: ${limit.whenNull}`);
});

test("every number that a launch may give has its limits", () => {
  const numbers = inputs.flatMap(({ name, fields = [] }) =>
    fields
      .filter(({ type }) => type.kind === Kind.NAMED_TYPE && type.name.value === "Int")
      .map((field) => `${name.value.replace(/Input$/, "")}.${field.name.value}`),
  );
  expect(FIELDS.map(([type, field]) => `${type}.${field}`).toSorted()).toEqual(numbers.toSorted());
});

test("the schema's other defaults are those of what is stored", () => {
  const defaultsOf = (type: string): Record<string, unknown> =>
    Object.fromEntries(
      (inputs.find((each) => each.name.value === type)?.fields ?? []).flatMap(({ name, defaultValue }) =>
        defaultValue ? [[name.value, valueFromASTUntyped(defaultValue)]] : [],
      ),
    );
  const stdio = launchSchema.parse({ kind: "stdio", command: "a" });
  const http = launchSchema.parse({ kind: "http", command: "a" });
  const image = launchSchema.parse({ kind: "image", image: "a" });
  const remote = launchSchema.parse({ kind: "remote", url: "https://example.com" });
  expect(stdio).toMatchObject(defaultsOf("StdioLaunchInput"));
  expect(http).toMatchObject(defaultsOf("HttpLaunchInput"));
  expect(image).toMatchObject(defaultsOf("ImageLaunchInput"));
  expect(remote).toMatchObject(defaultsOf("RemoteLaunchInput"));
  expect(stdio.options).toMatchObject(defaultsOf("LaunchOptionsInput"));
  expect(stdio.options.health).toMatchObject(defaultsOf("HealthOptionsInput"));
  expect(http).toHaveProperty("path", DEFAULT_MCP_PATH);
});

test.each([
  [{ stdio: { command: "a" } }, { kind: "stdio", command: "a" }],
  [{ http: { command: "a" } }, { kind: "http", command: "a" }],
  [{ image: { image: "a" } }, { kind: "image", image: "a" }],
  [{ remote: { url: "https://example.com" } }, { kind: "remote", url: "https://example.com" }],
])("a launch that says nothing else is the same asked for and stored: %j", (asked, stored) => {
  expect(launchSchema.parse(launchInput.parse(asked))).toEqual(launchSchema.parse(stored));
});
