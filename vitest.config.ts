import { join } from "node:path";
import { configDefaults, defineConfig } from "vitest/config";
import { filesLeftOut } from "@toolyard/testing/mode.ts";
import { PATIENCE } from "@toolyard/testing/patience.ts";

export default defineConfig({
  // One copy: Vite would take graphql's ES build, while @apollo/subgraph requires the CommonJS one.
  resolve: { alias: [{ find: /^graphql$/, replacement: join(import.meta.dirname, "node_modules/graphql/index.js") }] },
  test: {
    pool: "forks",
    exclude: [...configDefaults.exclude, ...filesLeftOut()],
    globalSetup: [join(import.meta.dirname, "packages/testing/temporary-folder.ts")],
    // @apollo/gateway reports to Apollo without it.
    env: { APOLLO_TELEMETRY_DISABLED: "true" },
    // More than CI has cores: end-to-end tests mostly wait, for less than half of one each.
    maxWorkers: 4,
    // They end what hangs, and are far from what anything takes, also on a machine that does twenty other things. A deadline
    // of `poll` or of packages/testing's `eventually` comes first and says what was waited for.
    testTimeout: 300_000 * PATIENCE,
    hookTimeout: 300_000 * PATIENCE,
    expect: { poll: { timeout: 60_000 * PATIENCE, interval: 20 } },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: [
            "{cli,distributed,packages,gateway,schema,scripts,standalone,subgraphs}/**/*.test.ts",
            "tests/{architecture,bench,contract}/**/*.test.ts",
          ],
        },
      },
      {
        extends: true,
        test: {
          name: "e2e",
          include: ["tests/e2e/**/*.test.ts"],
          setupFiles: [join(import.meta.dirname, "packages/testing/server-data-setup.ts")],
        },
      },
    ],
  },
});
