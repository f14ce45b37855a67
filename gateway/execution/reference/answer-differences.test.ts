import { GraphQLError, parse, type ExecutionResult } from "graphql";
import { describe, expect, test } from "vitest";
import { differencesOf } from "./answer-differences.ts";

const document = parse("{ me: user { name settings tags } all: users { name friends { name } } }");
const between = (one: ExecutionResult, other: ExecutionResult) => differencesOf(one, other, document);
const failed = (path: (string | number)[], code = "TIMEOUT") => new GraphQLError("no", { path, extensions: { code } });

describe("two answers are the same", () => {
  test.each<[string, ExecutionResult, ExecutionResult]>([
    ["with objects' keys in another order", { data: { me: 1, all: 2 } }, { data: { all: 2, me: 1 } }],
    [
      "with integers that kept their digits in one",
      { data: { me: exact("9007199254740993") } },
      { data: { me: Number("9007199254740993") } },
    ],
    [
      "with other words, and another error of the several below one null",
      { data: { me: null }, errors: [failed(["me", "name"]), failed(["me", "tags"], "FORBIDDEN")] },
      { data: { me: null }, errors: [new GraphQLError("words", { path: ["me"], extensions: { code: "FORBIDDEN" } })] },
    ],
    ["without a code, which means an inner error", withError(undefined), withError("INTERNAL_SERVER_ERROR")],
  ])("%s", (_what, one, other) => expect(between(one, other)).toBeNull());
});

describe("places that differ are told without values", () => {
  test.each<[string, ExecutionResult, ExecutionResult, { data?: string[]; errors?: string[] }]>([
    ["a value", { data: { me: { name: "a" } } }, { data: { me: { name: "b" } } }, { data: ["me.name"] }],
    ["null, absent", { data: { me: { name: null } } }, { data: { me: {} } }, { data: ["me.name"] }],
    ["another kind", { data: { me: [] } }, { data: { me: {} } }, { data: ["me"] }],
    ["a list's length", { data: { all: [1] } }, { data: { all: [1, 2] } }, { data: ["all"] }],
    [
      "several items of a list, once",
      { data: { all: [{ name: "a" }, { name: "b" }] } },
      { data: { all: [{ name: "x" }, { name: "y" }] } },
      { data: ["all.*.name"] },
    ],
    [
      "within a custom scalar, whose keys are data",
      { data: { me: { settings: { "secret key": 1 } } } },
      { data: { me: { settings: { "secret key": 2 } } } },
      { data: ["me.settings"] },
    ],
    ["an error of one alone", withError("TIMEOUT"), { data: { me: null } }, { errors: ["me"] }],
    ["another code", withError("TIMEOUT"), withError("FORBIDDEN"), { errors: ["me"] }],
    ["no data at all", { errors: [failed([])] }, { data: { me: null } }, { data: [""], errors: [""] }],
  ])("%s", (_what, one, other, places) => {
    const expected = { data: [], errors: [], ...places };
    expect(between(one, other)).toEqual(expected);
    expect(between(other, one)).toEqual(expected);
  });
});

function withError(code: string | undefined): ExecutionResult {
  return {
    data: { me: null },
    errors: [new GraphQLError("no", { path: ["me"], ...(code && { extensions: { code } }) })],
  };
}

function exact(text: string): object {
  return (JSON as typeof JSON & { rawJSON(digits: string): object }).rawJSON(text);
}
