import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { breachesOf, findForbiddenImports } from "../../scripts/import-directions.ts";

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
    ["the environment read outside main.ts", "gateway/config.ts", "const port = process.env.PORT;"],
    ["a signal handled outside main.ts", "gateway/http/http-server.ts", 'process.on("SIGTERM", stop);'],
  ])("find %s", (_name, path, source) => {
    expect(breachesOf(path, source)).toHaveLength(1);
  });

  test("allow a subgraph its packages, and main.ts the environment", () => {
    expect(breachesOf("subgraphs/tools/main.ts", 'import { x } from "@toolyard/storage";\nrun(process.env);')).toEqual(
      [],
    );
  });
});
