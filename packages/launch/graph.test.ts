import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Kind,
  buildASTSchema,
  getNamedType,
  isEnumType,
  isObjectType,
  isUnionType,
  parse,
  type GraphQLNamedType,
  type SelectionSetNode,
} from "graphql";
import { expect, test } from "vitest";
import { LAUNCH_FRAGMENT, launchFromGraph, launchTypeOf } from "./graph.ts";
import { shownLaunchSchema } from "./launch.ts";

const schema = buildASTSchema(parse(readFileSync(join(import.meta.dirname, "launch.graphql"), "utf8")), {
  assumeValidSDL: true,
});

/** Paths of all that can be selected below a type. */
function fieldsOf(type: GraphQLNamedType | undefined): string[] {
  if (isUnionType(type))
    return type.getTypes().flatMap((member) => fieldsOf(member).map((path) => `${member.name}:${path}`));
  if (!isObjectType(type)) return [""];
  return Object.values(type.getFields()).flatMap((field) => {
    const inner = getNamedType(field.type);
    return isObjectType(inner) && !isEnumType(inner)
      ? fieldsOf(inner).map((path) => `${field.name}.${path}`)
      : [field.name];
  });
}

/** Paths of all that a selection selects. */
function selectedBy(set: SelectionSetNode | undefined): string[] {
  return (set?.selections ?? []).flatMap((selection) => {
    if (selection.kind === Kind.INLINE_FRAGMENT)
      return selectedBy(selection.selectionSet).map((path) => `${selection.typeCondition?.name.value}:${path}`);
    if (selection.kind === Kind.FRAGMENT_SPREAD) return selectedBy(fragments.get(selection.name.value));
    const name = selection.name.value;
    if (name === "__typename") return [];
    return selection.selectionSet ? selectedBy(selection.selectionSet).map((path) => `${name}.${path}`) : [name];
  });
}

const fragments = new Map(
  parse(LAUNCH_FRAGMENT).definitions.flatMap((each) =>
    each.kind === Kind.FRAGMENT_DEFINITION ? [[each.name.value, each.selectionSet]] : [],
  ),
);

test("the fragment selects all that the graph says of a launch", () => {
  expect(selectedBy(fragments.get("WholeLaunch")).toSorted()).toEqual(fieldsOf(schema.getType("Launch")).toSorted());
});

const EXAMPLES = [
  { kind: "stdio", command: "a" },
  { kind: "http", command: "a" },
  { kind: "image", image: "a" },
  { kind: "remote", url: "https://example.com", headers: [{ name: "A", value: null, secret: true }] },
];
/** Sealed, or about how the launch is written: not the readers'. */
const HIDDEN = ["kind", "secretUrl", "escapes"];

test.each(EXAMPLES)(
  "a launch of the kind $kind has the fields of its type in the graph, and is read back",
  (example) => {
    const launch = shownLaunchSchema.parse({
      ...example,
      env: [{ name: "A", value: "b", secret: false }],
      options: { resources: {}, egress: { allow: ["example.com"] } },
    });
    const type = launchTypeOf(launch);
    const paths = (value: unknown, name: string): string[] =>
      Array.isArray(value) && typeof value[0] === "object"
        ? paths(value[0], name)
        : typeof value === "object" && value !== null && !Array.isArray(value)
          ? Object.entries(value).flatMap(([key, item]) => paths(item, `${name}${name.endsWith(":") ? "" : "."}${key}`))
          : [name];
    const shown = Object.fromEntries(Object.entries(launch).filter(([key]) => !HIDDEN.includes(key)));
    expect(paths(shown, `${type}:`).toSorted()).toEqual(
      fieldsOf(schema.getType("Launch"))
        .filter((path) => path.startsWith(`${type}:`))
        .toSorted(),
    );
    expect(launchFromGraph.parse({ __typename: type, ...shown })).toEqual(launch);
  },
);

test("a launch of a type that is not known is refused", () => {
  expect(launchFromGraph.safeParse({ __typename: "WasmLaunch" }).success).toBe(false);
});
