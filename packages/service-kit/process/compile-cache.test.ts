import { execFile } from "node:child_process";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const ofChild = `
  import { enableCompileCache } from "node:module";
  if (process.argv[1]) enableCompileCache(process.argv[1]);
  const { compileCacheEnvironment } = await import(${JSON.stringify(join(import.meta.dirname, "compile-cache.ts"))});
  console.log(JSON.stringify(compileCacheEnvironment()));
`;

async function environmentWith(...folder: string[]): Promise<unknown> {
  const { NODE_COMPILE_CACHE: _, ...env } = process.env;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", ofChild, ...folder], { env });
  return JSON.parse((await run).stdout);
}

test("a child is told of the folder of this process's compile cache, if it has one", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "toolyard-compile-cache-"));
  expect(await environmentWith(folder.path)).toEqual({ NODE_COMPILE_CACHE: folder.path });
  expect(await environmentWith()).toEqual({});
});
