import { buildSchema, execute, GraphQLError, parse, type ExecutionResult } from "graphql";
import { expect, test, vi } from "vitest";
import { notFound, ToolyardError } from "./errors.ts";
import { maskErrors } from "./mask-errors.ts";

const schema = buildSchema("type Query { given(number: Int): String, never: String! }");

/** What a client sees of an error that a resolver throws, and what the log has of it. */
async function masked(thrown: unknown, query = "{ given }", variables: Record<string, unknown> = {}) {
  const fail = () => {
    throw thrown;
  };
  // Nothing here returns a promise, and so the result is none.
  const result = execute({
    schema,
    document: parse(query),
    rootValue: { given: fail, never: () => null },
    variableValues: variables,
  }) as ExecutionResult;
  return maskedOf(result.errors ?? []);
}

function maskedOf(errors: readonly GraphQLError[]) {
  const logger = { error: vi.fn() };
  const [error] = maskErrors(errors, { logger, requestId: "r1" }).map((each) => each.toJSON());
  return { error, logged: logger.error.mock.calls as unknown[][] };
}

const INTERNAL = {
  message: "Something went wrong here. The log has it under this request id.",
  extensions: { code: "INTERNAL_SERVER_ERROR", requestId: "r1" },
};

test("an error with a public code keeps its message, its details and its place", async () => {
  const thrown = new ToolyardError("PRECONDITION_FAILED", "Stop it first.", {
    unmet: [{ gate: "stopped", reason: "It runs." }],
    cause: new Error("password=hunter2"),
  });
  const { error, logged } = await masked(thrown);
  expect(error).toEqual({
    message: "Stop it first.",
    path: ["given"],
    locations: [{ line: 1, column: 3 }],
    extensions: {
      code: "PRECONDITION_FAILED",
      unmet: [{ gate: "stopped", reason: "It runs." }],
      requestId: "r1",
    },
  });
  expect(logged).toEqual([]);
});

test("a public error is found under errors of GraphQL that wrap it, and gives its own message and code", async () => {
  const inner = new GraphQLError("inner", { originalError: notFound("tool", "echos", ["echo"]) });
  const outer = new GraphQLError("outer", { originalError: inner, extensions: { code: "OTHER" } });
  const { error, logged } = await masked(outer);
  expect(error).toMatchObject({
    message: 'There is no tool "echos". Did you mean "echo"?',
    extensions: { code: "NOT_FOUND", suggestions: ["echo"] },
  });
  expect(logged).toEqual([]);
});

test.each([
  ["an error of unknown kind", Object.assign(new Error("password=hunter2"), { extensions: { sql: "SELECT" } })],
  [
    "an error that says that it is internal",
    new ToolyardError("INTERNAL_SERVER_ERROR", "hunter2", { extensions: { sql: 1 } }),
  ],
  ["a GraphQL error without a code", new GraphQLError("hunter2", { extensions: { sql: "SELECT" } })],
  [
    "a GraphQL error with the internal code",
    new GraphQLError("hunter2", { extensions: { code: "INTERNAL_SERVER_ERROR", sql: 1 } }),
  ],
  ["something else that was thrown", "hunter2"],
])("%s is logged, and answered without its message and extensions", async (_what, thrown) => {
  const { error, logged } = await masked(thrown);
  expect(error).toEqual({ ...INTERNAL, path: ["given"], locations: [{ line: 1, column: 3 }] });
  expect(logged).toEqual([
    [
      expect.objectContaining({ request_id: "r1", path: ["given"], err: expect.any(Error) }),
      expect.stringMatching(/^a resolver failed: .*hunter2/),
    ],
  ]);
});

test("null where the schema allows none is a failure of ours", async () => {
  const { error, logged } = await masked(null, "{ never }");
  expect(error).toMatchObject(INTERNAL);
  expect(logged.length).toBe(1);
});

test("graphql-js's own errors about what the client sent keep their messages, as bad input", async () => {
  const { error, logged } = await masked(null, "query ($number: Int) { given(number: $number) }", { number: "one" });
  expect(error).toMatchObject({
    message: expect.stringContaining('Variable "$number" got invalid value "one"'),
    extensions: { code: "BAD_USER_INPUT", requestId: "r1" },
  });
  expect(logged).toEqual([]);
});

test("a code that is given stays", () => {
  const { error, logged } = maskedOf([new GraphQLError("No.", { extensions: { code: "GRAPHQL_VALIDATION_FAILED" } })]);
  expect(error).toMatchObject({ message: "No.", extensions: { code: "GRAPHQL_VALIDATION_FAILED", requestId: "r1" } });
  expect(logged).toEqual([]);
});

test("each error is masked on its own, in the order given", () => {
  const errors = [new Error("one"), new ToolyardError("CONFLICT", "two")].map(
    (originalError) => new GraphQLError("located", { originalError, path: ["a"] }),
  );
  const all = maskErrors(errors, { logger: { error: vi.fn() }, requestId: "r1" });
  expect(all.map(({ message, extensions }) => [message, extensions["code"]])).toEqual([
    [INTERNAL.message, "INTERNAL_SERVER_ERROR"],
    ["two", "CONFLICT"],
  ]);
});
