import { composeServices } from "@apollo/composition";
import { parse } from "graphql";
import { expect, test } from "vitest";
import { createApolloPlanner } from "../planning/apollo-planner.ts";
import { createHivePlanner } from "../planning/hive-planner.ts";
import { parseSupergraph } from "./supergraph.ts";

function compose(version: string, imports: string[], sdl: string): string {
  const link = `extend schema @link(url: "https://specs.apollo.dev/federation/${version}", import: ${JSON.stringify(imports)})`;
  const composed = composeServices([{ name: "a", url: "http://a.invalid/", typeDefs: parse(`${link} ${sdl}`) }]);
  if (composed.errors) throw new Error(String(composed.errors));
  return composed.supergraphSdl;
}

const plain = compose(
  "v2.3",
  ["@key"],
  `type Query { users: [User] } type User @key(fields: "id") { id: ID! name: String }`,
);
const request = { operation: "{ users { name } }", operationName: null, overrideLabels: [], overridePercentage: 100 };

test.each(["v0.3", "v0.4", "v0.5"])("a supergraph of join %s is read and planned for", (version) => {
  const supergraphSdl = plain.replaceAll(/join\/v0\.\d/g, `join/${version}`);
  expect([...parseSupergraph(supergraphSdl).subgraphUrls.keys()]).toEqual(["a"]);
  for (const createPlanner of [createHivePlanner, createApolloPlanner])
    expect(createPlanner({ supergraphSdl }).plan(request)).toMatchObject({ node: { kind: "Fetch", subgraph: "a" } });
});

test("a supergraph with authorization and costs is planned for by both planners", () => {
  const supergraphSdl = compose(
    "v2.9",
    ["@authenticated", "@requiresScopes", "@policy", "@cost", "@listSize", "@tag", "@inaccessible"],
    `type Query { users: [User] @listSize(assumedSize: 5) secret: String @inaccessible }
     type User { name: String @authenticated @tag(name: "x") email: String @requiresScopes(scopes: [["mail"]]) age: Int @policy(policies: [["p"]]) @cost(weight: 3) }`,
  );
  expect(supergraphSdl).toContain("for: SECURITY");
  expect(() => parseSupergraph(supergraphSdl)).not.toThrow();
  for (const createPlanner of [createHivePlanner, createApolloPlanner])
    expect(createPlanner({ supergraphSdl }).plan(request)).toMatchObject({ node: { kind: "Fetch", subgraph: "a" } });
});

test("what was composed by Federation 1 is refused with what to do", () => {
  const federation1 = `
    schema @core(feature: "https://specs.apollo.dev/core/v0.1") @core(feature: "https://specs.apollo.dev/join/v0.1") { query: Query }
    enum join__Graph { A @join__graph(name: "a", url: "http://a.invalid/") }
    type Query { a: String @join__field(graph: A) }
  `;
  expect(() => parseSupergraph(federation1)).toThrow(/Federation 1.*Compose its subgraphs anew with Federation 2/);
  expect(() => parseSupergraph(plain.replaceAll(/join\/v0\.\d/g, "join/v0.2"))).toThrow(
    /early version of Federation 2/,
  );
});

test("a schema that is no supergraph is refused as such", () => {
  expect(() => parseSupergraph("type Query { a: String }")).toThrow(/not a supergraph.*not a subgraph's schema/);
});

test("a feature for execution or security that is not understood is refused, any other is passed over", () => {
  const linked = (link: string) => plain.replace("schema\n", `schema\n  ${link}\n`);
  const unknown = linked(`@link(url: "https://specs.apollo.dev/context/v0.1", for: SECURITY)`);
  expect(() => parseSupergraph(unknown)).toThrow(
    /needs features that this gateway does not have: https:\/\/specs\.apollo\.dev\/context\/v0\.1 \(for: SECURITY\)/,
  );
  expect(() => parseSupergraph(linked(`@link(url: "https://example.com/pay/v1.0", for: EXECUTION)`))).toThrow(/pay/);
  expect(() => parseSupergraph(linked(`@link(url: "https://example.com/docs/v1.0")`))).not.toThrow();
});
