import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSchema } from "graphql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually, graphqlClient, logIn } from "@toolyard/testing";
import { startToolyard } from "@toolyard/testing/toolyard.ts";
import { findUndescribed } from "../../scripts/undescribed.ts";
import { lab } from "./fixtures/lab-runtime.ts";

const root = join(import.meta.dirname, "../..");
let copy: string;

/** A copy of the tree for a contributor to make mistakes in. */
beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), "toolyard-contributing-"));
  const left = new Set(["node_modules", "data", ".git", "tests"]);
  for (const entry of await readdir(root)) {
    if (!left.has(entry)) await cp(join(root, entry), join(copy, entry), { recursive: true });
  }
  // Packages of the tree itself are found in the copy, all others where they are.
  await cp(join(root, "node_modules/.package-lock.json"), join(copy, "node_modules/.package-lock.json"));
  for (const entry of await readdir(join(root, "node_modules"))) {
    if (entry === ".package-lock.json" || entry === "@toolyard") continue;
    await symlink(join(root, "node_modules", entry), join(copy, "node_modules", entry));
  }
  await cp(join(root, "node_modules/@toolyard"), join(copy, "node_modules/@toolyard"), {
    recursive: true,
    verbatimSymlinks: true,
  });
});
afterAll(() => rm(copy, { recursive: true, force: true }));

function npm(...args: string[]): Promise<{ code: number | null; text: string }> {
  // A contributor has no MySQL at hand.
  const { TEST_MYSQL_URL: _url, ...env } = process.env;
  const child = spawn("npm", ["run", "--silent", ...args], { cwd: copy, env, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return new Promise((done) => child.once("close", (code) => done({ code, text })));
}

async function change(file: string, from: string, to: string): Promise<void> {
  const text = await readFile(join(copy, file), "utf8");
  expect(text).toContain(from);
  await writeFile(join(copy, file), text.replace(from, to));
}

test(
  "npm run check refuses a field without description, resolver or column, and names the way out",
  { timeout: 480_000 },
  async () => {
    await change("subgraphs/tools/schema.graphql", "  slug: String!\n", "  slug: String!\n  homepage: String\n");
    await change(
      "subgraphs/tools/database.ts",
      "    templateId: {",
      "    website: { ...column.nullableName },\n    templateId: {",
    );
    await change(
      "subgraphs/tools/tool-store.ts",
      "  templateId: string",
      "  website: string | null;\n  templateId: string",
    );
    expect(await npm("generate")).toMatchObject({ code: 0 });
    const { code, text } = await npm("check", "--", "types", "descriptions", "migrations");
    expect(code).toBe(1);
    expect(text).toMatch(/descriptions FAILED[^]*- Tool\.homepage\n/);
    expect(text).toMatch(/types FAILED\nWithout a resolver in resolvers\.ts.*: .*homepage/);
    expect(text).toMatch(/npm run migrate -- create NAME[^]*subgraphs\/tools\/database\.ts[^]*"website"/);

    expect(await npm("migrate")).toMatchObject({ code: 2 });
    expect(await npm("migrate", "--", "create", "Add Website")).toMatchObject({ code: 2 });
    const written = await npm("migrate", "--", "create", "add-website");
    const file = /subgraphs\/tools\/migrations\/\d{4}-add-website\.sql/.exec(written.text)?.[0];
    expect(await readFile(join(copy, file ?? ""), "utf8")).toContain('"website" varchar');
    expect(await readFile(join(copy, file?.replace(".sql", ".down.sql") ?? ""), "utf8")).toContain("temporary_tools");
    const again = await npm("migrate", "--", "create", "again");
    expect(again).toMatchObject({ code: 0, text: expect.stringContaining("nothing to write") });
    expect((await npm("check", "--", "migrations")).text).toContain("migrations ok");
  },
);

test("a runtime is one folder and one line: the graph knows it, it runs beside others, and the proxy reaches its replicas", async () => {
  await mkdir(join(copy, "packages/runtimes/lab"));
  await cp(join(import.meta.dirname, "fixtures/lab-runtime.ts"), join(copy, "packages/runtimes/lab/index.ts"));
  const line = 'export { mock } from "./mock/index.ts";\n';
  await change("packages/runtimes/modules.ts", line, `export { lab } from "./lab/index.ts";\n${line}`);
  expect(await npm("generate")).toMatchObject({ code: 0 });
  expect(await readFile(join(copy, "schema/api.graphql"), "utf8")).toContain(`"""${lab.description}"""\n  LAB\n`);

  const env = { MCP_DEPLOYMENT_BACKEND: "process,lab", LAB_GREETING: "Here runs" };
  await using toolyard = await startToolyard({ entry: join(copy, "standalone.ts"), distributed: false, env });
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const admin = graphqlClient(toolyard.url, token);
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    `mutation { createTool(input: { name: "Robot", slug: "robot", description: "A robot.", launch: { image: { image: "robot:7", options: { health: { readinessPath: "/" } } } } }) { id } }`,
  );
  const deploy = `mutation Deploy($id: ID!, $replicas: Int, $runtime: RuntimeKind) {
    deployTool(input: { toolId: $id, replicas: $replicas, runtime: $runtime }) { id runtime }
  }`;
  const tooMany = await admin.send(deploy, { id: createTool.id, replicas: 3 });
  expect(JSON.stringify(tooMany.errors)).toContain("the lab has room for two");
  const unable = await admin.send(deploy, { id: createTool.id, runtime: "PROCESS" });
  expect(JSON.stringify(unable.errors)).toContain(
    "PROCESS does not run this launch (image) here: leave the runtime out, or say LAB",
  );
  const { deployTool } = await admin.query<{ deployTool: { runtime: string } }>(deploy, {
    id: createTool.id,
    replicas: 2,
  });
  expect(deployTool.runtime).toBe("LAB");
  const headers = { authorization: `Bearer ${token}` };
  const call = async () => (await fetch(`${toolyard.proxyUrl}/mcp/robot/v1/`, { headers })).text();
  await eventually("an answer from the lab", async () => (await call()) === "Here runs robot:7");
});

test("every kind of thing in a schema wants a description", () => {
  const schema = buildSchema(`
    type Query { a(b: Int): A }
    "." type A implements I { "." a: U, c: E }
    "." interface I { c: E }
    "." input In { x: Int }
    "." enum E { X }
    union U = A
    scalar S
  `);
  expect(findUndescribed(schema).toSorted()).toEqual(
    ["Query.a", "Query.a(b:)", "A.c", "I.c", "In.x", "E.X", "U", "S"].toSorted(),
  );
});
