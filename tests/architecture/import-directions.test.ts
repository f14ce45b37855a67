import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { breachesOf, circlesOf, findForbiddenImports } from "../../scripts/import-directions.ts";

describe("import directions", () => {
  test("hold in the whole tree", () => {
    expect(findForbiddenImports(join(import.meta.dirname, "../.."))).toEqual([]);
  });

  test.each([
    ["a package that imports a subgraph", "packages/tasks/queue.ts", 'import { x } from "@toolyard/subgraph-tools";'],
    [
      "a subgraph that imports another",
      "subgraphs/tools/tool-service.ts",
      'import { x } from "../identity/user-service.ts";',
    ],
    [
      "a subgraph that imports the gateway",
      "subgraphs/tools/tool-service.ts",
      'const x = await import("@toolyard/gateway");',
    ],
    ["a package reached by a relative path", "packages/tasks/queue.ts", 'import { x } from "../storage/database.ts";'],
    [
      "production code that imports what is for tests",
      "gateway/http/http-server.ts",
      'import { x } from "@toolyard/testing";',
    ],
    [
      "a package that imports the tree's scripts",
      "packages/tasks/queue.ts",
      'import { x } from "../../scripts/backup.ts";',
    ],
    ["an example that needs the tree", "examples/greeter.mjs", 'import { x } from "@toolyard/service-kit";'],
    ["a folder at the root that has no row", "helpers/text.ts", "export const x = 1;"],
    ["a file at the root that has no row", "helpers.ts", "export const x = 1;"],
    ["a script that starts the gateway", "scripts/backup.ts", 'import "@toolyard/gateway";'],
    ["what is standalone's elsewhere", "cli/main.ts", 'import { x } from "../standalone/banner.ts";'],
    ["what is tests' elsewhere", "standalone/sample.ts", 'import { x } from "../tests/e2e/fixtures/x.ts";'],
    ["a test that imports another subgraph", "subgraphs/tools/x.test.ts", 'import "@toolyard/subgraph-identity";'],
    [
      "a room of the gateway that imports one above it",
      "gateway/execution/running/execution.ts",
      'import type { x } from "../../subscriptions/upstream.ts";',
    ],
    [
      "a room that imports a file of another where only one is open to it",
      "gateway/execution/running/execution.ts",
      'import { x } from "../planning/planner-pool.ts";',
    ],
    [
      "an exception taken by another file",
      "gateway/admission/admission.ts",
      'import type { x } from "../subscriptions/upstream.ts";',
    ],
    [
      "a folder of the gateway that no rule knows",
      "gateway/rest/rest.ts",
      'import { x } from "../http/http-server.ts";',
    ],
    ["the environment read in standalone", "standalone/banner.ts", "const port = process.env.PORT;"],
    ["the environment read outside main.ts", "gateway/config.ts", "const port = process.env.PORT;"],
    ["TypeORM in a service", "subgraphs/tools/tool-service.ts", 'import { In } from "typeorm";'],
    ["TypeORM's manager in a service", "subgraphs/tools/tool-service.ts", "database.transaction(({ manager }) => 1);"],
    ["a driver's word in a service", "subgraphs/tools/tool-service.ts", 'if (code === "SQLITE_BUSY") return;'],
    ["a driver in a store", "subgraphs/tools/tool-store.sql.ts", 'import Database from "libsql";'],
    ["a signal handled outside main.ts", "gateway/http/http-server.ts", 'process.on("SIGTERM", stop);'],
  ])("find %s", (_name, path, source) => {
    expect(breachesOf(path, source)).toHaveLength(1);
  });

  test("allow a subgraph its packages, and main.ts the environment", () => {
    expect(breachesOf("subgraphs/tools/main.ts", 'import { x } from "@toolyard/storage";\nrun(process.env);')).toEqual(
      [],
    );
  });

  test.each([
    ["the gateway's files beside its rooms all of them", "gateway/gateway.ts", 'import "./http/http-server.ts";'],
    ["a room the formats", "gateway/execution/clients/http-client.ts", 'import "../../formats/exact-json.ts";'],
    ["a test what is for tests", "gateway/http/http-server.test.ts", 'import "@toolyard/testing";'],
    [
      "a store's adapter TypeORM",
      "subgraphs/tools/tool-store.sql.ts",
      'import { In } from "typeorm";\nmanager.find();',
    ],
    ["tests/ everything", "tests/e2e/tour.test.ts", 'import "../../standalone/sample.ts";'],
  ])("allow %s", (_name, path, source) => {
    expect(breachesOf(path, source)).toEqual([]);
  });

  test("find packages that import each other by way of a third", () => {
    const circle = [
      { path: "packages/a/index.ts", source: 'import "@toolyard/b";' },
      { path: "packages/b/index.ts", source: 'import "@toolyard/c/x.ts";' },
      { path: "packages/c/x.ts", source: 'export * from "@toolyard/a";' },
    ];
    expect(circlesOf(circle)).toHaveLength(3);
    expect(circlesOf(circle.slice(1))).toEqual([]);
  });
});
