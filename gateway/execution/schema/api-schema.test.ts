import { readFile } from "node:fs/promises";
import { Supergraph } from "@apollo/federation-internals";
import { buildSchema, lexicographicSortSchema, parse, printSchema, type GraphQLSchema } from "graphql";
import { describe, expect, test } from "vitest";
import { createApiSchema } from "./api-schema.ts";
import { createGraph } from "../fixtures/graph.ts";
import { graphFixtures } from "../fixtures/supergraphs.ts";

const sorted = (schema: GraphQLSchema) => printSchema(lexicographicSortSchema(schema));
const read = (name: string) => readFile(new URL(`../../../schema/${name}`, import.meta.url), "utf8");

describe("the API schema", () => {
  test.each(graphFixtures.map((create) => [create().name, create] as const))(
    "of %s is what Apollo makes of the supergraph",
    (_name, create) => {
      const { supergraphSdl } = createGraph(create());
      const theirs = Supergraph.build(supergraphSdl).apiSchema().toGraphQLJSSchema();
      expect(sorted(createApiSchema({ supergraph: parse(supergraphSdl) }))).toBe(sorted(theirs));
    },
  );

  test("of Toolyard is the checked-in one, without and with what is internal", async () => {
    const supergraph = parse(await read("supergraph.graphql"));
    expect(sorted(createApiSchema({ supergraph }))).toBe(sorted(buildSchema(await read("internal-api.graphql"))));
    const outside = createApiSchema({ supergraph, withoutTags: ["internal"] });
    expect(sorted(outside)).toBe(sorted(buildSchema(await read("api.graphql"))));
  });

  test("has nothing that only an inaccessible or tagged element leads to", () => {
    const supergraph = parse(`
      schema @link(url: "https://specs.apollo.dev/link/v1.0") @link(url: "https://specs.apollo.dev/join/v0.3", for: EXECUTION)
        @link(url: "https://specs.apollo.dev/inaccessible/v0.2", as: "hidden") @link(url: "https://specs.apollo.dev/tag/v0.3") { query: Query }
      directive @hidden on FIELD_DEFINITION | OBJECT | ARGUMENT_DEFINITION | ENUM_VALUE | INPUT_FIELD_DEFINITION
      directive @tag(name: String!) repeatable on FIELD_DEFINITION | ARGUMENT_DEFINITION
      directive @join__field(graph: join__Graph) repeatable on FIELD_DEFINITION
      enum join__Graph { A }
      enum Kind { X Y @hidden }
      input Filter { a: Int b: Secret @hidden }
      input Secret { c: Int }
      type Query { shown(filter: Filter, trace: Boolean @tag(name: "internal")): Kind @join__field(graph: A) gone: Gone other: Only @tag(name: "internal") media: [Media] }
      type Gone @hidden { id: ID }
      type Only { id: ID deeper: Deeper }
      type Deeper { id: ID }
      interface Media { id: ID }
      type Book implements Media { id: ID }
      union Either = Book | Gone
    `);
    const text = printSchema(createApiSchema({ supergraph, withoutTags: ["internal"] }));
    expect(text).toContain("shown(filter: Filter): Kind");
    expect(text).toContain("type Book implements Media");
    expect(text).not.toMatch(/hidden|join__|Gone|Only|Deeper|Secret|trace|\bY\b|@tag|@link/);
  });

  test("keeps what clients may use of directives from other specifications, with their arguments' types and defaults", () => {
    const supergraph = parse(`
      schema @link(url: "https://specs.apollo.dev/link/v1.0") @link(url: "https://specs.apollo.dev/join/v0.3", for: EXECUTION)
        @link(url: "https://example.com/access/v1.0", import: ["@access", { name: "@trace", as: "@follow" }]) { query: Query }
      directive @access(scope: Scope! = PUBLIC) repeatable on FIELD | FIELD_DEFINITION
      directive @follow on QUERY
      directive @access__audit on OBJECT
      directive @join__field(graph: join__Graph) repeatable on FIELD_DEFINITION
      enum join__Graph { A }
      enum Scope { PUBLIC PRIVATE }
      type Query @access__audit { a: String @access(scope: PRIVATE) @join__field(graph: A) }
    `);
    const text = printSchema(createApiSchema({ supergraph }));
    expect(text).toContain("directive @access(scope: Scope! = PUBLIC) repeatable on FIELD\n");
    expect(text).toContain("directive @follow on QUERY");
    expect(text).not.toMatch(/audit|FIELD_DEFINITION|join__/);
  });
});
