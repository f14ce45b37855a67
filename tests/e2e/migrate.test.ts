import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import LibsqlDatabase from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
let toolyard: RunningToolyard | null = null;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-migrate-"));
});
afterEach(async () => {
  await toolyard?.stop();
  toolyard = null;
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

const migrate = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", "migrate", "--", ...args], {
    cwd: join(import.meta.dirname, "../.."),
    encoding: "utf8",
    env: { ...process.env, DATA_DIR: folder },
  });
  return { status, stdout, stderr };
};
async function start(): Promise<RunningToolyard> {
  toolyard = await startToolyard({ dataDir: folder });
  return toolyard;
}
const slugsOf = async ({ url, adminPassword }: RunningToolyard) => {
  const admin = graphqlClient(url, await logIn(url, "admin", adminPassword));
  const { tools } = await admin.query<{ tools: { edges: { node: { slug: string } }[] } }>(
    '{ tools(search: "findable words") { edges { node { slug } } } }',
  );
  return tools.edges.map(({ node }) => node.slug);
};

test("status leaves out what MongoDB keeps, and whoever reads it may leave early", () => {
  const { status, stdout, stderr } = spawnSync(
    "sh",
    ["-c", "node scripts/migrate.ts status | true; node scripts/migrate.ts status"],
    {
      cwd: join(import.meta.dirname, "../.."),
      encoding: "utf8",
      // Nobody is asked there.
      env: { ...process.env, DATA_DIR: folder, MONGODB_URL: "mongodb://127.0.0.1:1/toolyard" },
    },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatch(/^tools:\n {2}0001-initial: to do\n/m);
  expect(stdout).toMatch(/^knowledge: MongoDB keeps it\n(?! )/m);
});

test("a store goes back step by step to its first migration and forth again without losing tools, and never while a process is on it", async () => {
  const first = await start();
  const admin = graphqlClient(first.url, await logIn(first.url, "admin", first.adminPassword));
  await admin.query("mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }", {
    i: {
      slug: "kept",
      name: "kept",
      description: "findable words",
      launch: { remote: { url: "https://example.com/mcp" } },
    },
  });
  expect(migrate("status")).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^tools:\n {2}0001-initial: done\n/m),
  });
  for (const command of ["up", "down"])
    expect(migrate(command)).toMatchObject({
      status: 1,
      stdout: "",
      stderr: expect.stringMatching(/Toolyard runs already with this DATA_DIR .*\. Stop it first\.$/m),
    });
  await toolyard?.stop();

  // A part that runs alone, such as the tools subgraph, does not lock the folder.
  const other = new LibsqlDatabase(join(folder, "tools.sqlite"));
  other.exec("SELECT 1 FROM tools");
  expect(migrate("down", "tools")).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringMatching(/tools\.sqlite is in use by another process: stop Toolyard first/),
  });
  other.close();

  const undone: string[] = [];
  let last = migrate("down", "tools");
  for (; last.status === 0; last = migrate("down", "tools"))
    undone.push(/^tools: (\S+) undone/.exec(last.stdout)?.[1] ?? last.stdout);
  expect(last).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(
      /0001-initial is the first migration of .*drops all that is there \(.*tools.*--drop-data/,
    ),
  });
  expect(undone.at(-1)).toMatch(/^0002-/);
  expect(migrate("status").stdout).toMatch(/^tools:\n {2}0001-initial: done\n {2}0002-search: to do\n/m);
  const up = migrate("up");
  expect({ ...up, stdout: up.stdout.split("\n").sort() }).toMatchObject({
    status: 0,
    stdout: expect.arrayContaining([`tools: ${undone.toReversed().join(", ")} done`, "identity: nothing to do"]),
  });
  expect(await slugsOf(await start())).toEqual(["kept"]);
});

test("an older version's schema is what a start migrates by itself", async () => {
  await (await start()).stop();
  expect(migrate("down")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^identity: \S+ undone$/m) });
  expect(migrate("status").stdout).toContain("to do");
  await (await start()).stop();
  expect(migrate("status").stdout).not.toContain("to do");
});

test.each<[string, string[], number, RegExp]>([
  ["no command", [], 2, /^Usage: npm run migrate/],
  ["an unknown command", ["sideways"], 2, /^Usage/],
  ["a store that there is not", ["down", "users"], 2, /no store users: there are .*identity/],
  ["a name that says nothing", ["create", "Bad Name"], 2, /A migration has a name of a-z/],
])("%s is refused in a sentence", (_what, args, status, message) => {
  expect(migrate(...args)).toMatchObject({ status, stdout: "", stderr: expect.stringMatching(message) });
});

test("nothing is made in an empty folder that is only looked at", async () => {
  expect(migrate("status")).toMatchObject({ status: 0, stdout: expect.stringContaining("0001-initial: to do") });
  expect(await readdir(folder)).toEqual([]);
});
