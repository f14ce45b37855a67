import { ToolyardError, parseInput } from "@toolyard/service-kit";
import { dataOf, executeOn } from "@toolyard/testing";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  CREATE,
  UPDATE,
  createToolsFixture,
  developer,
  stdioLaunch,
  type CreatedTool,
  type ToolsFixture,
} from "./fixtures/subgraph.ts";
import { launchInput } from "@toolyard/launch";

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

async function create(): Promise<CreatedTool> {
  const input = { name: "Any", description: "", launch: stdioLaunch };
  return (await dataOf<{ createTool: CreatedTool }>(fixture.subgraph, CREATE, { input }, developer)).createTool;
}

const REVERT = `mutation ($id: ID!, $n: Int!) { revertTool(id: $id, versionNumber: $n) { id currentVersion { number } } }`;
const HISTORY = `query ($id: ID) { tool(id: $id) { name description tags currentVersion { number }
  versions(first: 100) { edges { node { id number name description tags digest changeSummary createdAt launch { ... on StdioLaunch { command } } } } } } }`;
interface History {
  tool: {
    name: string;
    currentVersion: { number: number };
    versions: { edges: { node: { number: number; name: string; tags: string[] } }[] };
  };
}

const change = fc.oneof(
  fc.record({ name: fc.constantFrom("A", "B", "C") }),
  fc.record({ description: fc.constantFrom("x", "y") }),
  fc.record({ tags: fc.subarray(["t", "u"]) }),
  fc.record({ launch: fc.record({ stdio: fc.record({ command: fc.constantFrom("node", "deno") }) }) }),
  fc.record({ revertTo: fc.integer({ min: 1, max: 4 }) }),
);

test("whatever changes come, version numbers rise by one and versions stay as they were", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 6 }), async (changes) => {
      const { id } = await create();
      let seen: { number: number }[] = [];
      for (const one of changes) {
        if ("revertTo" in one) await executeOn(fixture.subgraph, REVERT, { id, n: one.revertTo }, developer);
        else await dataOf(fixture.subgraph, UPDATE, { id, input: one }, developer);
        const { tool } = await dataOf<History>(fixture.subgraph, HISTORY, { id }, developer);
        const versions = tool.versions.edges.map(({ node }) => node).toReversed();
        expect(versions.map(({ number }) => number)).toEqual(versions.map((_, index) => index + 1));
        expect(versions.slice(0, seen.length)).toEqual(seen);
        expect(versions.length - seen.length).toBeLessThanOrEqual(seen.length === 0 ? 2 : 1);
        expect(tool.currentVersion.number).toBe(versions.length);
        expect(versions.at(-1)).toMatchObject({ name: tool.name });
        seen = versions;
      }
    }),
    { numRuns: 100 },
  );
});

test("of concurrent changes against the same version exactly one wins", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 5 }), async (count) => {
      const { id } = await create();
      const answers = await Promise.all(
        Array.from({ length: count }, (_, n) =>
          executeOn(fixture.subgraph, UPDATE, { id, input: { name: `Name ${n}`, expectedVersion: 1 } }, developer),
        ),
      );
      const refused = answers.flatMap(({ errors }) => errors.map(({ code }) => code));
      expect(refused).toEqual(Array.from({ length: count - 1 }, () => "CONFLICT"));
      const { tool } = await dataOf<History>(fixture.subgraph, HISTORY, { id }, developer);
      expect(tool.versions.edges).toHaveLength(2);
    }),
    { numRuns: 100 },
  );
});

test("of concurrent changes against no version in particular none is lost", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 4 }), async (count) => {
      const { id } = await create();
      const fields = [{ name: "N" }, { description: "D" }, { tags: ["T"] }, { configSchema: { type: "object" } }].slice(
        0,
        count,
      );
      await Promise.all(fields.map((input) => dataOf(fixture.subgraph, UPDATE, { id, input }, developer)));
      const query = `query ($id: ID) { tool(id: $id) { name description tags configSchema currentVersion { number } } }`;
      const { tool } = await dataOf<{ tool: object }>(fixture.subgraph, query, { id }, developer);
      expect(tool).toMatchObject({ ...Object.assign({}, ...fields), currentVersion: { number: count + 1 } });
    }),
    { numRuns: 100 },
  );
});

test("tools made at once of one name have slugs of their own", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom("Same", "same", "Sáme", "same 2"), { minLength: 2, maxLength: 4 }),
      async (names) => {
        const made = await Promise.all(
          names.map((name) =>
            dataOf<{ createTool: CreatedTool }>(
              fixture.subgraph,
              CREATE,
              { input: { name, description: "", launch: stdioLaunch } },
              developer,
            ),
          ),
        );
        expect(new Set(made.map(({ createTool }) => createTool.slug)).size).toBe(names.length);
      },
    ),
    { numRuns: 100 },
  );
});

test("whatever comes as a launch is either taken, and then taken the same again, or refused as bad input", () => {
  const anything = fc.oneof(
    fc.string(),
    fc.double(),
    fc.constantFrom(null, undefined, true, [], {}, ["a"], { health: { timeoutSeconds: "1" } }),
  );
  const fields = fc.dictionary(
    fc.constantFrom(
      "command",
      "args",
      "env",
      "workingDirectory",
      "sessions",
      "options",
      "path",
      "image",
      "port",
      "url",
      "headers",
    ),
    fc.oneof(
      anything,
      fc.string({ unit: "binary" }),
      fc.array(fc.dictionary(fc.constantFrom("name", "value", "secret"), anything)),
    ),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom("stdio", "http", "image", "remote"), fields), (input) => {
      try {
        const { kind, ...launch } = parseInput(launchInput, input);
        expect(parseInput(launchInput, { [kind]: launch })).toEqual({ kind, ...launch });
      } catch (error) {
        if (!(error instanceof ToolyardError)) throw error;
        expect(error.code).toBe("BAD_USER_INPUT");
      }
    }),
    { numRuns: 300 },
  );
});
