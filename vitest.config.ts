import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // One copy: Vite would take graphql's ES build, while @apollo/subgraph requires the CommonJS one.
  resolve: { alias: [{ find: /^graphql$/, replacement: join(import.meta.dirname, "node_modules/graphql/index.js") }] },
  test: {
    pool: "forks",
    // @apollo/gateway reports to Apollo without it.
    env: { APOLLO_TELEMETRY_DISABLED: "true" },
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: [
            "{cli,packages,gateway,schema,standalone,subgraphs}/**/*.test.ts",
            "tests/{architecture,bench,contract}/**/*.test.ts",
          ],
        },
      },
      {
        extends: true,
        test: { name: "e2e", include: ["tests/e2e/**/*.test.ts"], testTimeout: 120_000, hookTimeout: 120_000 },
      },
    ],
  },
});
