import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSchema, getNamedType, isObjectType, isNonNullType, Kind, parse, type SelectionSetNode } from "graphql";
import { expect, test } from "vitest";
import { ROUTE_TABLE_SELECTION, parseRouteTable, routeTableSchema } from "./route-table.ts";

const sdl = readFileSync(join(import.meta.dirname, "routes.graphql"), "utf8");
const schema = buildSchema(`${sdl} scalar JSON`, { assumeValidSDL: true });

function fieldsOf(type: string): string[] {
  const found = schema.getType(type);
  if (!isObjectType(found)) throw new Error(`${type} is no type`);
  return Object.values(found.getFields()).flatMap((field) => {
    const inner = getNamedType(field.type);
    return isObjectType(inner) ? fieldsOf(inner.name).map((path) => `${field.name}.${path}`) : [field.name];
  });
}

function selectedBy(set: SelectionSetNode | undefined): string[] {
  return (set?.selections ?? []).flatMap((each) => {
    if (each.kind !== Kind.FIELD) throw new Error("not a field");
    const { name, selectionSet } = each;
    return selectionSet ? selectedBy(selectionSet).map((path) => `${name.value}.${path}`) : [name.value];
  });
}

/** Paths of a value's leaves. */
function pathsOf(value: unknown, name = ""): string[] {
  if (Array.isArray(value)) return typeof value[0] === "object" ? pathsOf(value[0], name) : [name];
  if (typeof value !== "object" || value === null) return [name];
  return Object.entries(value).flatMap(([key, item]) => pathsOf(item, name === "" ? key : `${name}.${key}`));
}

const target = {
  replicaId: "r",
  url: "http://127.0.0.1:1",
  token: "",
  ready: true,
  headers: [{ name: "A", value: "b" }],
};
const route = {
  key: "d",
  slug: "weather",
  ref: "",
  toolId: "t",
  deploymentId: "d",
  digest: "0",
  weight: 100,
  options: { timeoutSeconds: 30, maxConcurrentCalls: null, enforceApproval: false },
  mcpPath: "/mcp",
  targets: [target],
};
const table = { version: "1", sessionKey: "0123456789abcdef", routes: [route] };

/** Of a table, but for options that it also says one by one, to people. */
const told = fieldsOf("RouteTable").filter(
  (path) => !Object.keys(route.options).some((name) => path === `routes.${name}`),
);

test("what a proxy asks for is all that the schema says of a table, and what it takes", () => {
  const [asked] = parse(ROUTE_TABLE_SELECTION).definitions;
  const selected = asked?.kind === Kind.OPERATION_DEFINITION ? selectedBy(asked.selectionSet) : [];
  expect(selected.toSorted()).toEqual(told.toSorted());
  const { routes, ...head } = routeTableSchema.parse(table);
  const taken = { ...head, routes: routes.map((each) => ({ ...each, options: "" })) };
  expect(pathsOf(taken).toSorted()).toEqual(told.toSorted());
});

test("what the schema allows to be null is taken where it is", () => {
  const nullable = ["Route", "RouteTarget"].map((type) => {
    const found = schema.getType(type);
    const fields = isObjectType(found) ? Object.values(found.getFields()) : [];
    return Object.fromEntries(
      fields
        .filter((field) => !isNonNullType(field.type) && !(field.name in route.options))
        .map(({ name }) => [name, null]),
    );
  });
  const [ofRoute, ofTarget] = nullable;
  expect(Object.keys({ ...ofRoute, ...ofTarget })).not.toEqual([]);
  const given = { ...table, routes: [{ ...route, ...ofRoute, targets: [{ ...target, ...ofTarget }] }] };
  const { table: taken, refused } = parseRouteTable(given);
  expect(refused).toEqual([]);
  expect(taken.routes).toMatchObject([{ ...ofRoute, targets: [{ ...ofTarget }] }]);
});

test("a route on disk that has its options as fields of its own, as earlier versions wrote it, is the same", () => {
  const { options, ...others } = route;
  const [taken] = routeTableSchema.parse({
    ...table,
    routes: [{ ...others, ...options, maxConcurrentCalls: 3 }],
  }).routes;
  expect(taken?.options).toMatchObject({ ...options, maxConcurrentCalls: 3 });
});
