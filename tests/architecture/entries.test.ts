import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

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
  ["packages/proxy/main.ts", { PROXY_PORT: "none" }],
  ["packages/bridge/main.ts", {}],
])(
  "%s loads in plain Node and refuses a wrong configuration with exit code 78",
  { timeout: 30_000 },
  async (entry, env: Record<string, string>) => {
    const child = spawn(process.execPath, [join(root, entry)], {
      cwd: root,
      env: { PATH: process.env.PATH, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let printed = "";
    child.stderr.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    const code = await new Promise((done) => child.once("close", done));
    expect(printed).not.toMatch(/ERR_|SyntaxError/);
    expect({ code, printed }).toMatchObject({ code: 78 });
  },
);
