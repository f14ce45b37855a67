import { join } from "node:path";
import { expect, test } from "vitest";
import { findMisplacedDependencies, misplacedDependencies } from "../../scripts/dependencies.ts";

const manifest = { dependencies: { undici: "1" }, devDependencies: { "fast-check": "1" } };
const used = { path: "gateway/graph-client.ts", source: 'import { send } from "undici/fetch";' };

test("production's dependencies are among the dependencies, and no others", () => {
  expect(findMisplacedDependencies(join(import.meta.dirname, "../.."))).toEqual([]);
  expect(misplacedDependencies(manifest, [used])).toEqual([]);
});

test.each([
  ["a dependency that only a test uses", [{ ...used, path: "gateway/graph-client.test.ts" }]],
  ["a dependency that nothing uses", []],
  [
    "a devDependency that production imports",
    [used, { path: "cli/main.ts", source: 'import {\n  assert,\n} from "fast-check";' }],
  ],
])("finds %s", (_name, files) => {
  expect(misplacedDependencies(manifest, files)).toHaveLength(1);
});

test("lets production have a devDependency's types, which do not run", () => {
  const typed = { path: "cli/main.ts", source: 'import type { Arbitrary } from "fast-check";' };
  expect(misplacedDependencies(manifest, [used, typed])).toEqual([]);
});
