import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { expect, test } from "vitest";
import { isTest, sourcesOf } from "../../scripts/import-directions.ts";

const root = join(import.meta.dirname, "../..");
const pages = [
  "README.md",
  "ARCHITECTURE.md",
  ".env.example",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
].map((path) => ({ path, source: readFileSync(join(root, path), "utf8") }));
/** What a program may say; the comments are for developers. */
const messages = sourcesOf(root)
  .filter(({ path }) => !isTest(path) && !path.startsWith("tests/"))
  .map(({ path, source }) => ({ path, source: source.replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, "") }));

/** TypeScript runs by the Node that is installed with Toolyard: npm's scripts and npx find that one, node_modules/.bin has it, a shell the machine's, which may be Node 20. */
const BY_THE_MACHINES_NODE = /(?<!npx |exec |node_modules\/\.bin\/)\bnode (?:-\S+ )*[\w./<>-]+\.ts\b/g;

test("no command in documents or messages runs TypeScript by the machine's own Node", () => {
  expect("`node --env-file=.env standalone.ts`").toMatch(BY_THE_MACHINES_NODE);
  expect(messages.length).toBeGreaterThan(300);
  expect(
    [...pages, ...messages].flatMap(({ path, source }) =>
      [...source.matchAll(BY_THE_MACHINES_NODE)].map(([command]) => `${path}: ${command}`),
    ),
  ).toEqual([]);
});

test("each npm script that documents and messages name is there", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  const missing = [...pages, ...messages].flatMap(({ path, source }) =>
    [...source.matchAll(/\bnpm (?:--prefix \S+ )?run (?:--silent )?([a-z][\w-]*)/g)]
      .filter(([, name = ""]) => !(name in scripts))
      .map(([command]) => `${path}: ${command}`),
  );
  expect(missing).toEqual([]);
});

test("a shell reads from .env.example what Node does", async () => {
  const text = readFileSync(join(root, ".env.example"), "utf8");
  await using folder = await mkdtempDisposable(join(tmpdir(), "toolyard-env-"));
  const file = join(folder.path, ".env");
  // As it is, and with each example.
  for (const content of [text, text.replaceAll(/^#(?=[A-Z_]+=.)/gm, "")]) {
    await writeFile(file, content);
    const print = `set -a; . ${file}; exec "$0" -p 'JSON.stringify(process.env)'`;
    const { stdout } = spawnSync("sh", ["-c", print, process.execPath], { encoding: "utf8", env: {} });
    // Lines of a key may be parted so: whoever reads it takes both.
    expect(JSON.parse(stdout.replaceAll("\\\\n", "\\n"))).toMatchObject(parseEnv(content));
  }
});
