import { join } from "node:path";
import { expect, test } from "vitest";
import {
  findLockDifferences,
  findMisplacedDependencies,
  lockDifferences,
  misplacedDependencies,
} from "../../scripts/dependencies.ts";

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

test("package-lock.json is of the package.json files as they are", () => {
  expect(findLockDifferences(join(import.meta.dirname, "../.."))).toEqual([]);
});

const project = { name: "p", version: "1.0.0", dependencies: { ajv: "1.0.0" } };
const workspace = { name: "@p/w", version: "1.0.0", dependencies: { zod: "^4.0.0" } };
const manifests = new Map<string, object>([
  ["", project],
  ["packages/w", workspace],
]);
const locked = {
  "": project,
  "packages/w": workspace,
  "node_modules/@p/w": { resolved: "packages/w", link: true as const },
  "node_modules/ajv": { version: "1.0.0" },
};

test.each([
  ["nothing where all is the same", {}, []],
  ["a workspace that is not locked", { "packages/w": {}, "node_modules/@p/w": {} }, [/^packages\/w/, /zod/, /lead to/]],
  ["a workspace that is gone", { "packages/gone": workspace }, [/^packages\/gone is no workspace/]],
  ["another range", { "packages/w": { ...workspace, dependencies: { zod: "^3.0.0" } } }, [/zod is \^3.*not \^4/]],
  ["one that was removed", { "": { ...project, devDependencies: { gone: "1" } } }, [/gone is 1, not undefined/]],
  ["another version", { "node_modules/ajv": { version: "0.9.0" } }, [/ajv is 0\.9\.0, not 1\.0\.0/]],
])("finds in package-lock.json %s", (_what, difference, sentences) => {
  const found = lockDifferences(manifests, { ...locked, ...difference });
  expect(found).toEqual(sentences.map((sentence) => expect.stringMatching(sentence)));
});

test("finds a package that a workspace has in another version than the project: only the project's folder is in the image", () => {
  const exact = { ...workspace, dependencies: { ajv: "2.0.0" } };
  const found = lockDifferences(new Map<string, object>([...manifests, ["packages/w", exact]]), {
    ...locked,
    "packages/w": exact,
    "packages/w/node_modules/ajv": { version: "2.0.0" },
  });
  expect(found).toEqual(["ajv is 1.0.0, not 2.0.0"]);
});
