import { spawn } from "node:child_process";
import { join } from "node:path";
import { PATIENCE } from "@toolyard/testing/patience.ts";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

async function run(entry: string, env: Record<string, string>): Promise<{ code: unknown; printed: string }> {
  const child = spawn(process.execPath, [join(root, entry)], {
    cwd: root,
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "ignore", "pipe"],
    // One that starts after all is not left behind.
    timeout: 25_000 * PATIENCE,
  });
  let printed = "";
  child.stderr.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  return { code: await new Promise((done) => child.once("close", done)), printed };
}

/**
 * Vitest accepts what Node's type stripping rejects (enums, imports without extension, types imported as values). So each entry is
 * loaded by plain Node, with a configuration that stops it once all its modules are there.
 */
test.each([
  ["standalone.ts", { PORT: "none" }],
  ["gateway/main.ts", { PORT: "none" }],
  ["subgraphs/identity/main.ts", { PORT: "none" }],
  ["subgraphs/tools/main.ts", { PORT: "none" }],
  ["subgraphs/knowledge/main.ts", { PORT: "none" }],
  ["subgraphs/analysis/main.ts", { PORT: "none" }],
  ["subgraphs/deployments/main.ts", { PORT: "none" }],
  ["worker/main.ts", { PORT: "none" }],
  ["distributed/main.ts", { PORT: "none" }],
  ["packages/proxy/main.ts", { PROXY_PORT: "none" }],
  ["packages/bridge/main.ts", {}],
])(
  "%s loads in plain Node and refuses a wrong configuration with exit code 78",
  async (entry, env: Record<string, string>) => {
    const { code, printed } = await run(entry, env);
    expect(printed).not.toMatch(/ERR_|SyntaxError/);
    expect({ code, printed }).toMatchObject({ code: 78 });
  },
);

test.each([
  ["standalone.ts", "DATABASE_URL"],
  ["gateway/main.ts", "REDIS_URL"],
  ["subgraphs/identity/main.ts", "DATABASE_URL"],
  ["subgraphs/tools/main.ts", "MONGODB_URL"],
  ["subgraphs/knowledge/main.ts", "REDIS_URL"],
  ["subgraphs/analysis/main.ts", "DATABASE_URL"],
  ["subgraphs/deployments/main.ts", "MONGODB_URL"],
  ["worker/main.ts", "DATABASE_URL"],
  ["distributed/main.ts", "MONGODB_URL"],
  ["packages/proxy/main.ts", "REDIS_URL"],
])("%s does not pass over %s, which is none, nor repeat it", async (entry, name) => {
  const { code, printed } = await run(entry, { [name]: "scheme://root:hunter2@db/x" });
  expect({ code, printed }).toMatchObject({ code: 78, printed: expect.stringContaining(`${name}: `) });
  expect(printed).not.toContain("hunter2");
});

test("gateway/main.ts does not guess where Toolyard's own subgraphs are", async () => {
  const SECRET_KEY = "a key for tests, which is long enough";
  const { code, printed } = await run("gateway/main.ts", { SECRET_KEY, PORT: "0" });
  expect({ code, printed }).toMatchObject({
    code: 78,
    printed: expect.stringMatching(/^SUBGRAPH_URLS: .*identity.*SUBGRAPH_URLS=/),
  });
});

test("distributed/main.ts says which servers it needs, and which it can do without", async () => {
  expect(await run("distributed/main.ts", {})).toMatchObject({
    code: 78,
    printed: expect.stringMatching(/^DATABASE_URL: .*\nREDIS_URL: .*\nMONGODB_URL may be left out/),
  });
  const { printed } = await run("distributed/main.ts", { DATABASE_URL: "mysql://root@127.0.0.1/toolyard" });
  expect(printed).toMatch(/^REDIS_URL: .*\nMONGODB_URL may be left out/);
});
