import { GraphQLError, buildSchema } from "graphql";
import { expect, test } from "vitest";
import { createRestApi } from "./rest-api.ts";
import type { RestRoute } from "./rest-route.ts";
import { runRoute, type RestRequest } from "./run-route.ts";

const schema = buildSchema(`
  scalar JSON
  type Query { thing(id: ID!): Thing things(first: Int, offset: Int, kind: Kind): ThingConnection! me: Owner }
  type Mutation { makeThing(input: MakeThing!): Thing! }
  enum Kind { LARGE SMALL }
  type Owner { ownThings(first: Int, offset: Int): [Thing!] ownThingCount: Int }
  type Thing { id: ID! firstName: String setUp: JSON owner: Owner launch: Launch! }
  union Launch = StdioLaunch | RemoteLaunch
  type StdioLaunch { workingFolder: String! }
  type RemoteLaunch { url: String! }
  type ThingConnection { edges: [ThingEdge!]! totalCount: Int! }
  type ThingEdge { node: Thing! }
  input MakeThing { firstName: String! setUp: JSON parts: [Part!] = [] kind: Kind }
  input Part { partName: String! count: Int }
`);
const SELECTION =
  "{ id firstName setUp launch { __typename ... on StdioLaunch { workingFolder } ... on RemoteLaunch { url } } }";
const routes = {
  get: {
    method: "GET",
    path: "/things/{thing_id}",
    tag: "Things",
    summary: "Get a thing",
    operation: `query Thing($thingId: ID!) { thing(id: $thingId) ${SELECTION} }`,
    status: 200,
    noun: "thing",
    version: ({ id }) => Number(id),
  },
  list: {
    method: "GET",
    path: "/things",
    tag: "Things",
    summary: "List things",
    operation:
      "query Things($first: Int, $offset: Int, $kind: Kind) { things(first: $first, offset: $offset, kind: $kind) { edges { node { id } } totalCount } }",
    status: 200,
    noun: "thing",
  },
  own: {
    method: "GET",
    path: "/own",
    tag: "Things",
    summary: "List own things",
    operation: "query Own { me { ownThings { id } } }",
    status: 200,
    at: ["me", "ownThings"],
    noun: "owner",
  },
  counted: {
    method: "GET",
    path: "/counted",
    tag: "Things",
    summary: "List own things by the page",
    operation:
      "query Counted($first: Int, $offset: Int) { me { ownThings(first: $first, offset: $offset) { id } ownThingCount } }",
    status: 200,
    at: ["me", "ownThings"],
    totalAt: ["me", "ownThingCount"],
    noun: "owner",
  },
  make: {
    method: "POST",
    path: "/things",
    tag: "Things",
    summary: "Make a thing",
    operation: `mutation Make($input: MakeThing!) { makeThing(input: $input) ${SELECTION} }`,
    status: 201,
    noun: "thing",
    location: "/things/{id}",
  },
} as const satisfies Record<string, RestRoute>;
const api = createRestApi(schema, Object.values(routes));

/** Runs a route; the graph answers `result`. */
async function run(
  name: keyof typeof routes,
  result: { data?: Record<string, unknown> | null; errors?: GraphQLError[] },
  request: Partial<RestRequest> = {},
) {
  let asked: unknown;
  const answer = runRoute(
    {
      // Nothing of an admitted operation is looked at.
      inspect: () => ({ hash: "" }) as never,
      async execute({ variables }) {
        asked = variables;
        return result;
      },
    },
    api.compiled(routes[name]),
    {
      params: {},
      search: {},
      body: undefined,
      ifMatch: undefined,
      ifNoneMatch: undefined,
      context: { caller: {} as never, requestId: "r" },
      signal: new AbortController().signal,
      ...request,
    },
  );
  return { ...(await answer), asked };
}

const thing = {
  id: "7",
  firstName: "a",
  setUp: { camelCase: { snake_case: [1] } },
  launch: { __typename: "StdioLaunch", workingFolder: "w" },
};

test("names are in snake_case both ways, except those in JSON that users wrote", async () => {
  const body = { first_name: "a", set_up: { camelCase: 1, snake_case: 2 }, parts: [{ part_name: "p", count: null }] };
  expect(await run("make", { data: { makeThing: thing } }, { body })).toEqual({
    status: 201,
    headers: { location: "/things/7" },
    body: { id: "7", first_name: "a", set_up: thing.setUp, launch: { stdio: { working_folder: "w" } } },
    asked: {
      input: { firstName: "a", setUp: body.set_up, parts: [{ partName: "p", count: null }] },
    },
  });
});

test.each([
  ["fields that are not there", { first_name: "a", role: "ADMIN" }, [""]],
  ["names of the graph", { firstName: "a" }, ["first_name", ""]],
  ["a missing field", {}, ["first_name"]],
  ["a value of another type, deep down", { first_name: "a", parts: [{ part_name: 1 }] }, ["parts.0.part_name"]],
  ["an unknown value of an enum", { first_name: "a", kind: "HUGE" }, ["kind"]],
  ["a list where an object is", [], [""]],
  ["keys of prototypes", JSON.parse('{"first_name":"a","constructor":{}}') as unknown, [""]],
])("%s are refused, by place", async (_what, body, paths) => {
  await expect(run("make", {}, { body })).rejects.toMatchObject({
    code: "BAD_USER_INPUT",
    extensions: { problems: paths.map((path) => expect.objectContaining({ path }) as unknown) },
  });
});

test("a page has its limit and offset, from texts in the query", async () => {
  const data = { things: { edges: [{ node: { id: "1" } }], totalCount: 9 } };
  const { body, asked } = await run("list", { data }, { search: { limit: "1", offset: "3", kind: "SMALL" } });
  expect(body).toEqual({ items: [{ id: "1" }], total: 9, limit: 1, offset: 3 });
  expect(asked).toEqual({ first: 1, offset: 3, kind: "SMALL" });
  expect((await run("list", { data })).body).toMatchObject({ limit: 20, offset: 0 });
});

test.each(["0", "101", "-1", "1.5", "x", "", "1e2", ["1", "2"]])("limit=%s is refused", async (limit) => {
  await expect(run("list", {}, { search: { limit } })).rejects.toMatchObject({
    extensions: { problems: [expect.objectContaining({ path: "limit" })] },
  });
});

test("a list that the graph answers whole is cut here", async () => {
  const data = { me: { ownThings: [{ id: "1" }, { id: "2" }, { id: "3" }] } };
  const { body } = await run("own", { data }, { search: { limit: "1", offset: "1" } });
  expect(body).toEqual({ items: [{ id: "2" }], total: 3, limit: 1, offset: 1 });
});

test("null is NOT_FOUND, or the error that the graph has for it", async () => {
  const params = { thing_id: "7" };
  await expect(run("get", { data: { thing: null } }, { params })).rejects.toMatchObject({ code: "NOT_FOUND" });
  const extensions = {
    code: "BAD_USER_INPUT",
    problems: [{ path: "thingId", message: "is wrong" }],
    retryAfterSeconds: 1,
    nearestThing: 2,
  };
  await expect(
    run("get", { data: { thing: null }, errors: [new GraphQLError("No.", { extensions })] }, { params }),
  ).rejects.toMatchObject({
    message: "No.",
    extensions: {
      code: "BAD_USER_INPUT",
      problems: [{ path: "thing_id", message: "is wrong" }],
      retryAfterSeconds: 1,
      nearest_thing: 2,
    },
  });
});

test.each([
  ["names of the graph's", "input.firstName", "first_name"],
  ["names of the graph's, deep down", "input.parts.0.partName", "parts.0.part_name"],
  ["names in the client's own JSON, which stay", "input.setUp.camelCase.0.aB", "set_up.camelCase.0.aB"],
  ["names of what was not sent", "launch.stdio.workingFolder", "launch.stdio.working_folder"],
  ["the input itself", "input", ""],
])("a place is told, and the message made, by %s", async (_names, path, expected) => {
  const problems = [{ path, message: "is wrong" }];
  const extensions = { code: "BAD_USER_INPUT", problems };
  const error = new GraphQLError(`${path}: is wrong`, { extensions });
  await expect(run("make", { errors: [error] }, { body: { first_name: "a" } })).rejects.toMatchObject({
    message: expected === "" ? "is wrong" : `${expected}: is wrong`,
    extensions: { problems: [{ path: expected, message: "is wrong" }] },
  });
});

test("a page of a list whose total the graph tells beside it is answered as it is", async () => {
  const data = { me: { ownThings: [{ id: "2" }], ownThingCount: 3 } };
  const { body, asked } = await run("counted", { data }, { search: { limit: "1", offset: "1" } });
  expect(body).toEqual({ items: [{ id: "2" }], total: 3, limit: 1, offset: 1 });
  expect(asked).toEqual({ first: 1, offset: 1 });
});

test("what a client has already is not sent again", async () => {
  const get = (ifNoneMatch: string) => run("get", { data: { thing } }, { params: { thing_id: "7" }, ifNoneMatch });
  const tag = (await get('"7"')).headers["etag"] ?? "";
  expect(tag).toMatch(/^"7-[\w-]{16}"$/);
  for (const known of [tag, `W/${tag}`, `"6", ${tag}`, "*"])
    expect(await get(known)).toMatchObject({
      status: 304,
      headers: { etag: tag, "cache-control": "private, no-cache" },
    });
  for (const other of ['"6"', '"7"', '"7-other"']) expect(await get(other)).toMatchObject({ status: 200 });
});
