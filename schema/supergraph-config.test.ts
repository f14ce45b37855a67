import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parseSupergraphConfig } from "./supergraph-config.ts";

const FOLDER = resolve("/etc/graph");
const parse = (yaml: string, env: Record<string, string> = {}) =>
  parseSupergraphConfig(yaml, {
    file: `${FOLDER}/supergraph.yaml`,
    env,
    readFile: (path) => (path === `${FOLDER}/token` ? "from-file" : null),
  });

test("reads what rover reads, by name, with files relative to it", () => {
  const yaml = `
federation_version: =2.9.0
subgraphs:
  reviews:
    schema:
      subgraph_url: http://localhost:4002/graphql
      introspection_headers: { Authorization: Bearer x, x-n: 1 }
  films:
    routing_url: https://films.example.com
    schema: { file: ./films/schema.graphql }
  people:
    routing_url: http://people/
    schema:
      sdl: |
        type Query { a: Int }
`;
  expect(parse(yaml)).toEqual({
    federationVersion: "=2.9.0",
    subgraphs: [
      {
        name: "films",
        routingUrl: "https://films.example.com",
        schema: { kind: "file", path: resolve(FOLDER, "films/schema.graphql") },
      },
      { name: "people", routingUrl: "http://people/", schema: { kind: "inline", sdl: "type Query { a: Int }\n" } },
      {
        name: "reviews",
        routingUrl: "http://localhost:4002/graphql",
        schema: {
          kind: "introspection",
          url: "http://localhost:4002/graphql",
          headers: { Authorization: "Bearer x", "x-n": "1" },
        },
      },
    ],
  });
});

describe("variables", () => {
  const urlOf = (url: string, env: Record<string, string> = {}) =>
    parse(`subgraphs: { a: { routing_url: "${url}", schema: { sdl: "x" } } }`, env).subgraphs[0]?.routingUrl;

  test("are of the environment, with a default where unset or empty, and of files", () => {
    expect(urlOf("http://${env.HOST}:${env.PORT:-80}/", { HOST: "a" })).toBe("http://a:80/");
    expect(urlOf("http://a:${env.PORT:-80}/", { PORT: "" })).toBe("http://a:80/");
    expect(urlOf("http://a:${env.PORT:-80}/", { PORT: "81" })).toBe("http://a:81/");
    expect(urlOf("http://a/${file.token}")).toBe("http://a/from-file");
    expect(urlOf("http://a/$$x$y")).toBe("http://a/$x$y");
  });

  test("are not replaced in what they stand for", () => {
    expect(urlOf("http://a/${env.A}", { A: "${env.B}", B: "b" })).toBe("http://a/${env.B}");
  });

  test.each([
    ["${env.NOPE}", "set the environment variable NOPE"],
    ["${file.nope}", "there is no such file"],
    ["${HOME}", "is not known"],
  ])("%s is refused with what to do", (text, why) => {
    expect(() => urlOf(`http://a/${text}`)).toThrow(why);
  });
});

describe("what cannot be used is refused, saying", () => {
  const of = (subgraph: string) => `subgraphs: { a: ${subgraph} }`;
  test.each([
    ["a graph of GraphOS", of("{ schema: { graphref: g@current, subgraph: a } }"), "rover subgraph fetch"],
    [
      "Federation 1",
      `federation_version: 1\n${of("{ routing_url: http://a, schema: { sdl: x } }")}`,
      "only Federation 2",
    ],
    ["no place for the schema", of("{ routing_url: http://a, schema: {} }"), "one of `file`, `subgraph_url` and `sdl`"],
    ["two places", of("{ routing_url: http://a, schema: { file: a, sdl: b } }"), "one of `file`"],
    ["no URL", of("{ schema: { file: a } }"), "`subgraphs.a.routing_url` is missing"],
    ["a URL that is none", of("{ routing_url: a, schema: { file: a } }"), "must be a URL"],
    ["an unknown key", of("{ routing_ulr: http://a, schema: { file: a } }"), 'has unknown keys: "routing_ulr"'],
    [
      "an unknown key of a source",
      of("{ routing_url: http://a, schema: { file: a, fil: b } }"),
      "`subgraphs.a.schema`: has unknown keys",
    ],
    ["no subgraphs", "subgraphs: {}", "`subgraphs` is empty"],
    ["nothing", "", "must have `subgraphs`"],
    ["no YAML", "subgraphs: {", "supergraph.yaml cannot be used: "],
  ])("%s", (_name, yaml, why) => {
    expect(() => parse(yaml)).toThrow(why);
  });

  test("all that is wrong at once", () => {
    const yaml =
      "federation_version: 1\nsubgraphs: { a: { schema: { file: a } }, b: { routing_url: http://b, schema: {} } }";
    expect(() => parse(yaml)).toThrow(/federation_version.*\n- .*subgraphs\.a.*\n- .*subgraphs\.b/);
  });
});
