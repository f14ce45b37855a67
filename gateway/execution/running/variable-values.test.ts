import { buildSchema, getVariableValues, parse, type OperationDefinitionNode } from "graphql";
import { describe, expect, test } from "vitest";
import { variableValues } from "./variable-values.ts";

const schema = buildSchema(`
  enum Color { RED GREEN }
  input Pair @oneOf { a: Int b: Int }
  input Item { name: String! = "none" size: Int! color: Color tags: [String!] pair: Pair inner: Item }
  type Query { f(a: Int, i: Item, l: [Item!], c: Color, s: String!): Int }
`);
const [operation] = parse(
  `query ($a: Int = 3, $i: Item, $l: [Item!], $c: Color = GREEN, $s: String!) { f(a: $a, i: $i, l: $l, c: $c, s: $s) }`,
).definitions as [OperationDefinitionNode];
const definitions = operation.variableDefinitions ?? [];

describe("variables", () => {
  test.each<Record<string, unknown>>([
    {},
    { s: null },
    { s: "x" },
    { s: "x", a: null, c: null, i: null },
    { s: "x", a: undefined },
    { s: 1, a: "1", c: "BLUE" },
    { s: "x", i: { size: 1 }, l: { size: 2, color: "RED", tags: "one" } },
    { s: "x", i: { size: "1", unknown: 2, tags: [1, null] } },
    { s: "x", i: { size: 1, inner: { size: null, pair: { a: 1, b: 2 } } } },
    { s: "x", l: [{ size: 1 }, null, 3, { size: 1, pair: { a: null } }], other: 1 },
    { s: "x", i: JSON.parse('{"size": 1, "__proto__": {"size": 2}, "toString": 3}') as unknown },
  ])("are taken, or refused with the same words, as graphql-js takes them: %j", (inputs) => {
    const own = variableValues(schema, definitions, inputs);
    const theirs = getVariableValues(schema, definitions, inputs);
    if ("errors" in own) {
      const reason = (error: { message: string }) =>
        error.message.replace(/ got invalid value .*?(?=( at "[^"]*")?;)/, "");
      expect(own.errors.map(reason)).toEqual(theirs.errors?.map(reason));
    } else expect(own.coerced).toEqual(theirs.coerced);
  });

  test("that are large are not repeated in what is said of them, however much is wrong with them", () => {
    const fields = Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`unknown${n}`, n]));
    const long = "x".repeat(1_000_000);
    for (const inputs of [
      { s: "", i: fields },
      { s: "", l: Array.from({ length: 20_000 }, () => ({ inner: fields })) },
      { s: fields },
      { s: "", a: long, c: long },
      { s: "", i: { [long]: 1 } },
      { s: "", i: { size: { a: fields } } },
    ]) {
      const result = variableValues(schema, definitions, inputs);
      expect("errors" in result).toBe(true);
      const said = JSON.stringify("errors" in result && result.errors.map(({ message }) => message));
      expect(said.length).toBeLessThan(30_000);
    }
  });

  test("that are refused are shown as far as it takes to know them by", () => {
    const result = variableValues(schema, definitions, {
      s: "",
      i: { size: [1, 2, 3, 4, 5, 6, 7], name: { a: { b: 1 } } },
    });
    expect("errors" in result && result.errors.map(({ message }) => message)).toEqual([
      'Variable "$i" got invalid value { a: { b: 1 } } at "i.name"; String cannot represent a non string value: { a: { b: 1 } }',
      'Variable "$i" got invalid value [1, 2, 3, 4, 5, …] at "i.size"; Int cannot represent non-integer value: [1, 2, 3, 4, 5, 6, 7]',
    ]);
  });
});
