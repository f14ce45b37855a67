import { expect, test } from "vitest";
import { askedText, parseCommandLine } from "./command-line.ts";

test.each<[string, string[], Record<string, string>, ReturnType<typeof parseCommandLine>]>([
  ["nothing", [], {}, null],
  ["--supergraph", ["--supergraph", "s.graphql"], {}, { kind: "composed", file: "s.graphql" }],
  ["-s, as the router has it", ["-s", "s.graphql", "--hot-reload"], {}, { kind: "composed", file: "s.graphql" }],
  [
    "the router's variable",
    [],
    { APOLLO_ROUTER_SUPERGRAPH_PATH: "s.graphql" },
    { kind: "composed", file: "s.graphql" },
  ],
  [
    "an argument over the variable",
    ["-s", "a"],
    { APOLLO_ROUTER_SUPERGRAPH_PATH: "b" },
    { kind: "composed", file: "a" },
  ],
  ["--supergraph-config, as rover has it", ["--supergraph-config", "x"], {}, { kind: "config", file: "x" }],
  ["a supergraph.yaml however named", ["-s", "a/supergraph.yaml"], {}, { kind: "config", file: "a/supergraph.yaml" }],
  ["an empty variable", [], { APOLLO_ROUTER_SUPERGRAPH_PATH: "" }, null],
])("takes %s", (_name, args, env, expected) => {
  expect(parseCommandLine(args, env)).toEqual(expected);
});

test("refuses what it does not know, and two supergraphs, with the usage", () => {
  expect(() => parseCommandLine(["--super"], {})).toThrow(/--super.*\nUsage:/s);
  expect(() => parseCommandLine(["-s", "a", "--supergraph-config", "b"], {})).toThrow(/which supergraph.*\nUsage:/s);
});

test("tells how it is used, and its version, when it is asked", () => {
  for (const args of [["--help"], ["-h"], ["-s", "a", "--help"]])
    expect(askedText(args, "1.2.3")).toMatch(/^Usage: .*--supergraph-config.*PORT=4000/s);
  for (const args of [["--version"], ["-v"]]) expect(askedText(args, "1.2.3")).toBe("1.2.3\n");
  expect(askedText(["-s", "a"], "1.2.3")).toBeNull();
});
