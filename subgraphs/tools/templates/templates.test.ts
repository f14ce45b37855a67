import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, createServiceCaller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  createToolsFixture,
  developer,
  otherDeveloper,
  UPDATE,
  viewer,
  type CreatedTool,
  type ToolsFixture,
} from "../fixtures/subgraph.ts";
import { readTemplate } from "./template-file.ts";
import { createTemplateFolder } from "./template-folder.ts";

const OWN = `name: Own
description: For tests
launch:
  stdio:
    command: server
    args: ["--city=\${config.city}", "--days=\${config.days}", "$\${config.city}"]
    env:
      - { name: API_KEY, value: "key \${config.apiKey}" }
      - { name: CITY, value: "\${config.city}" }
configSchema:
  type: object
  properties:
    city: { type: string }
    days: { type: integer }
    apiKey: { type: string, writeOnly: true }
  required: [city]
  additionalProperties: false
`;
const CREATE = `mutation ($id: ID!, $input: FromTemplateInput!) { createToolFromTemplate(templateId: $id, input: $input) {
  id slug name description templateId template { id name } configSchema currentVersion { id number source changeSummary }
  launch { ... on StdioLaunch { command args env { name value secret } } } } }`;

interface Made extends CreatedTool {
  templateId: string;
  template: { id: string; name: string };
  launch: { command: string; args: string[]; env: unknown[] };
}

let folder: string;
let fixture: ToolsFixture;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-templates-"));
  await writeFile(join(folder, "own.yaml"), OWN);
  // Instead of Toolyard's.
  await writeFile(join(folder, "memory.yaml"), OWN.replace("Own", "My memory"));
  await writeFile(join(folder, "wrong.yaml"), "name: [");
  fixture = await createToolsFixture({ env: { TEMPLATES_DIR: folder } });
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const make = async (id: string, input: object = {}, caller = developer): Promise<Made> =>
  (await dataOf<{ createToolFromTemplate: Made }>(fixture.subgraph, CREATE, { id, input }, caller))
    .createToolFromTemplate;

describe("Toolyard's own templates", async () => {
  const files = await readdir(join(import.meta.dirname, "../../../templates"));

  test.each(files)("%s becomes a tool", async (file) => {
    const id = file.replace(/\.yaml$/, "");
    const { templateId, configSchema, currentVersion } = await make(id);
    expect(templateId).toBe(id);
    expect(configSchema).toMatchObject({ type: "object", additionalProperties: false });
    expect(currentVersion).toMatchObject({ number: 1, source: "TEMPLATE" });
  });

  test("are at least ten that need no key, and some that do; each names a version", async () => {
    const query = `{ templates(first: 100) { edges { node { version source repository configSchema launch { ... on StdioLaunch { args } } } } } }`;
    const { templates } = await dataOf<{
      templates: {
        edges: { node: { version: string; configSchema: { required?: string[] }; launch: { args: string[] } } }[];
      };
    }>(fixture.subgraph, query, {}, viewer);
    const own = templates.edges.filter(({ node }) => node.version !== null);
    const withKey = own.filter(({ node }) => node.configSchema.required?.length);
    expect(own.length - withKey.length).toBeGreaterThanOrEqual(10);
    expect(withKey.length).toBeGreaterThanOrEqual(3);
    for (const { node } of own)
      expect(node).toMatchObject({
        source: "CATALOGUE",
        repository: expect.stringMatching(/^https:/),
        launch: { args: expect.arrayContaining([expect.stringContaining(`@${node.version}`)]) },
      });
  });
});

describe("the list of templates", () => {
  const LIST = `query ($search: String, $first: Int, $after: String, $offset: Int) {
    templates(search: $search, first: $first, after: $after, offset: $offset) {
      totalCount pageInfo { hasNextPage endCursor } edges { node { id name authorId author { id } } } } }`;
  interface Listed {
    templates: {
      totalCount: number;
      pageInfo: { hasNextPage: boolean; endCursor: string | null };
      edges: { node: { id: string; name: string } }[];
    };
  }
  const list = async (variables: object) =>
    (await dataOf<Listed>(fixture.subgraph, LIST, { ...variables }, viewer)).templates;

  test("is in the order of the ids, page after page, each once", async () => {
    const { edges, totalCount } = await list({ first: 100 });
    const ids = edges.map(({ node }) => node.id);
    expect(ids).toEqual([...new Set(ids)].toSorted());
    expect(totalCount).toBe(ids.length);
    const found: string[] = [];
    for (let after: string | null = null; ;) {
      const page: Listed["templates"] = await list({ first: 3, after });
      found.push(...page.edges.map(({ node }) => node.id));
      after = page.pageInfo.endCursor;
      if (!page.pageInfo.hasNextPage) break;
    }
    expect(found).toEqual(ids);
    expect((await list({ first: 2, offset: 5 })).edges.map(({ node }) => node.id)).toEqual(ids.slice(5, 7));
  });

  test("has those with all words, wherever they are, in any case", async () => {
    const names = async (search: string) => (await list({ search })).edges.map(({ node }) => node.name);
    expect(await names("own tests")).toEqual(["Own"]);
    // As Toolyard's template of the id would be found.
    expect(await names("knowledge graph")).toEqual([]);
    expect(await names("BRAVE api")).toEqual(["Brave Search"]);
    expect(await names("brave nonsense")).toEqual([]);
    expect(await codeOf(fixture.subgraph, LIST, { search: "a ".repeat(17) }, viewer)).toBe("BAD_USER_INPUT");
  });

  test("has the operator's own, instead of Toolyard's where the id is the same, and not what cannot be read", async () => {
    const query = `query ($id: ID!) { template(id: $id) { name launch { ... on StdioLaunch { args env { value } } } } }`;
    const read = (id: string) => dataOf(fixture.subgraph, query, { id }, viewer);
    expect(await read("memory")).toMatchObject({ template: { name: "My memory" } });
    expect(await read("own")).toEqual({
      template: {
        name: "Own",
        launch: {
          args: ["--city=${config.city}", "--days=${config.days}", "$${config.city}"],
          env: [{ value: "key ${config.apiKey}" }, { value: "${config.city}" }],
        },
      },
    });
    expect(await read("wrong")).toEqual({ template: null });
    expect(await codeOf(fixture.subgraph, query, { id: "own" })).toBe("UNAUTHENTICATED");
  });

  test.each([
    "../own",
    "..%2fown",
    "own.yaml",
    "./own",
    "/etc/passwd",
    "own\0",
    "",
    "__proto__",
    "OWN",
    "a".repeat(9_999),
  ])("has none with the id %j", async (id) => {
    expect(await codeOf(fixture.subgraph, CREATE, { id, input: {} }, developer)).toBe("NOT_FOUND");
    const query = `query ($id: ID!) { template(id: $id) { id } }`;
    expect((await executeOn(fixture.subgraph, query, { id }, viewer)).data).toEqual({ template: null });
  });
});

describe("a tool made of a template", () => {
  test("has its content, and names it", async () => {
    const made = await make("own", { name: "Mine", slug: "mine" });
    expect(made).toMatchObject({
      slug: "mine",
      name: "Mine",
      description: "For tests",
      template: { id: "own", name: "Own" },
      configSchema: { required: ["city"] },
      currentVersion: { source: "TEMPLATE", changeSummary: "Made of the template own" },
    });
    expect(made.launch.args).toEqual(["--city=${config.city}", "--days=${config.days}", "$${config.city}"]);
    expect(await codeOf(fixture.subgraph, CREATE, { id: "own", input: {} }, viewer)).toBe("FORBIDDEN");
  });

  test("by an id that is mistyped is not made: the ones that are close are told, as where one is asked for", async () => {
    for (const [query, variables] of [
      [CREATE, { id: "onw", input: {} }],
      ["query ($id: ID!) { template(id: $id) { id } }", { id: "onw" }],
    ] as const) {
      const { errors } = await executeOn(fixture.subgraph, query, variables, developer);
      expect(errors).toMatchObject([{ code: "NOT_FOUND", message: 'There is no template "onw". Did you mean "own"?' }]);
    }
    const query = `{ template(id: "nothing-of-this-kind") { id } }`;
    expect(await dataOf(fixture.subgraph, query, {}, developer)).toEqual({ template: null });
  });

  test("with a configuration needs none: values are in its launch, secret ones sealed", async () => {
    const configuration = { city: "$${config.days} ${config.city}", apiKey: "s3cret" };
    const { id, launch, configSchema } = await make("own", { configuration });
    expect(configSchema).toBeNull();
    expect(launch).toMatchObject({
      // Escaped, since it is what the server gets; without the argument that has no value.
      args: ["--city=$$$${config.days} $${config.city}", "$${config.city}"],
      env: [
        { name: "API_KEY", value: null, secret: true },
        { name: "CITY", value: "$$$${config.days} $${config.city}", secret: false },
        { name: "CONFIG_JSON", value: null, secret: true },
      ],
    });
    const query = `query ($id: ID!) { sealedLaunch(toolId: $id) { launch } }`;
    const service = createServiceCaller("deployments", ["internal:sealed-launch"]);
    expect(JSON.stringify(await dataOf(fixture.subgraph, query, { id }, service))).not.toContain("s3cret");
  });

  test("with a configuration that the template does not take is not made", async () => {
    const { errors } = await executeOn(
      fixture.subgraph,
      CREATE,
      { id: "own", input: { configuration: { town: "Bern" } } },
      developer,
    );
    expect(errors).toMatchObject([{ code: "BAD_USER_INPUT" }]);
    const problems = errors[0]?.extensions["problems"] as { path: string }[];
    expect(problems.map(({ path }) => path)).toEqual(
      expect.arrayContaining([expect.stringContaining("input.configuration")]),
    );
  });

  test("is used again by its author where that is asked for, up to date unless it was changed", async () => {
    const reused = (name: string, caller = developer) => make("own", { name, reuse: true }, caller);
    const first = await reused("Again");
    expect(await reused("Again")).toEqual(first);
    expect((await reused("Another")).id).not.toBe(first.id);
    expect((await reused("Again", otherDeveloper)).id).not.toBe(first.id);

    await dataOf(fixture.subgraph, UPDATE, { id: first.id, input: { description: "Changed" } }, developer);
    expect(await reused("Again")).toMatchObject({
      id: first.id,
      description: "Changed",
      currentVersion: { number: 2 },
    });

    // One that was configured for good is not another's.
    const baked = await make("own", { name: "Baked", configuration: { city: "Bern" } });
    expect((await reused("Baked")).id).not.toBe(baked.id);
    for (const more of [{ slug: "again-x" }, { configuration: {} }])
      expect(await codeOf(fixture.subgraph, CREATE, { id: "own", input: { reuse: true, ...more } }, developer)).toBe(
        "BAD_USER_INPUT",
      );
  });

  test("follows a template that has changed", async () => {
    const directory = await mkdtemp(join(tmpdir(), "toolyard-templates-"));
    await writeFile(join(directory, "moving.yaml"), OWN);
    await using mine = await createToolsFixture({ env: { TEMPLATES_DIR: directory } });
    const reused = async () =>
      (
        await dataOf<{ createToolFromTemplate: Made }>(
          mine.subgraph,
          CREATE,
          { id: "moving", input: { reuse: true } },
          developer,
        )
      ).createToolFromTemplate;
    const { id } = await reused();
    await writeFile(join(directory, "moving.yaml"), OWN.replace("command: server", "command: faster"));
    await mine.reopen();
    expect(await reused()).toMatchObject({
      id,
      launch: { command: "faster" },
      currentVersion: { number: 2, source: "TEMPLATE", changeSummary: "Brought up to the template" },
    });
    await rm(directory, { recursive: true, force: true });
  });
});

describe("a template's file", () => {
  const problemsOf = (text: string): string[] => {
    const read = readTemplate("a.yaml", text);
    return "problems" in read ? read.problems.map(({ path, message, line }) => `${line} ${path}: ${message}`) : [];
  };

  test.each([
    ["a field that there is none of", OWN + "knowlege: []", "1 : has unknown keys"],
    ["a misspelt field of the launch", OWN.replace("command:", "comand:"), '5 launch.stdio: Field "comand"'],
    ["no launch", "name: A", "launch: "],
    ["no YAML", "name: A\nlaunch: [", "2 : is not YAML"],
    [
      "two launches",
      OWN.replace("launch:", "launch:\n  remote: { url: https://example.com }"),
      "launch: set exactly one",
    ],
    [
      "a secret",
      OWN.replace('value: "key ${config.apiKey}"', "value: k, secret: true"),
      "8 launch.stdio.env.0.secret: a template has no secrets",
    ],
    [
      "a URL that is one",
      "name: A\nlaunch: { remote: { url: 'https://example.com/?key=1' } }",
      "launch.remote.url: a template has no secrets",
    ],
    [
      "a whole command line",
      OWN.replace("command: server", "command: npx -y server"),
      "launch.stdio.command: is a whole command line",
    ],
    ["a schema that is none", OWN.replace(/configSchema:[^]*/, "configSchema: [1]"), "configSchema: must be an object"],
  ])("with %s is refused", (_what, text, problem) => {
    expect(problemsOf(text)).toEqual(expect.arrayContaining([expect.stringContaining(problem)]));
  });

  test("may hold as little as a name and a launch", () => {
    expect(readTemplate("a.b-c_1.yaml", "name: A\nlaunch: { remote: { url: https://example.com/mcp } }")).toMatchObject(
      {
        template: {
          id: "a.b-c_1",
          description: "",
          version: null,
          configSchema: { type: "object", additionalProperties: false },
        },
      },
    );
  });

  test.each(["A.yaml", "a..b.yaml", "-a.yaml", ".yaml", "a b.yaml", `${"a".repeat(65)}.yaml`])(
    "is not called %s",
    (file) =>
      expect(readTemplate(file, OWN)).toMatchObject({
        problems: [{ message: expect.stringContaining("words of a-z") }],
      }),
  );

  test("is found again where its folder could not be read at first", async () => {
    const away = join(folder, "later");
    const catalogue = createTemplateFolder({ folder: away, logger: createLogger({ level: "silent", name: "test" }) });
    await expect(catalogue.idsOf([])).rejects.toThrow("ENOENT");
    await mkdir(away);
    await writeFile(join(away, "late.yaml"), OWN);
    expect(await catalogue.idsOf([])).toEqual(["late"]);
  });
});
