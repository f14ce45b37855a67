import { describe, expect, test } from "vitest";
import { deploymentOf, evidenceOf, launchOf, toolOf, usageOf } from "../fixtures/evidence.ts";
import type { Evidence } from "../evidence.ts";
import { deploymentFindings, upkeepFindings, usageFindings } from "./deployment-rules.ts";

const of = (changes: Partial<Evidence>) => evidenceOf(toolOf(), changes);
const shown = (findings: ReturnType<typeof deploymentFindings>) =>
  findings.map(({ severity, title }) => `${severity} ${title}`);

describe("deployments", () => {
  test("healthy ones need nothing, stopped and older failed ones neither", () => {
    const deployments = [
      deploymentOf(),
      deploymentOf({ status: "STOPPED", health: "UNHEALTHY" }),
      deploymentOf({ status: "FAILED" }),
    ];
    expect(deploymentFindings(of({ deployments }))).toEqual([]);
  });
  test("what fails, is unhealthy, degraded or restarts often is named with its reason", () => {
    const failed = deploymentOf({ status: "FAILED", reason: "npx: package not found." });
    expect(deploymentFindings(of({ deployments: [failed] }))).toMatchObject([
      {
        severity: "HIGH",
        title: "weather-k3f9 has failed",
        detail: expect.stringContaining("npx: package not found."),
      },
    ]);
    expect(shown(deploymentFindings(of({ deployments: [deploymentOf({ health: "UNHEALTHY" })] })))).toEqual([
      "HIGH weather-k3f9 is unhealthy",
    ]);
    expect(shown(deploymentFindings(of({ deployments: [deploymentOf({ health: "DEGRADED" })] })))).toEqual([
      "MEDIUM weather-k3f9 is degraded",
    ]);
    const replicas = [2, 1].map((restarts) => ({ phase: "READY", reason: null, restarts }));
    expect(shown(deploymentFindings(of({ deployments: [deploymentOf({ replicas })] })))).toEqual([
      "MEDIUM weather-k3f9 restarts often",
    ]);
  });
});

describe("usage", () => {
  const deployments = [deploymentOf()];
  test.each([
    ["few calls say nothing", usageOf({ calls: 19, errors: 19, errorRate: 1, p95Ms: 60_000 }), []],
    ["good calls need nothing", usageOf(), []],
    ["some errors", usageOf({ errors: 6, errorRate: 0.06 }), ["MEDIUM Many calls fail"]],
    ["many errors", usageOf({ errors: 30, errorRate: 0.3 }), ["HIGH Many calls fail"]],
    ["slow calls", usageOf({ p95Ms: 2_500 }), ["MEDIUM Calls are slow"]],
    ["calls near the limit of 30 s", usageOf({ p95Ms: 25_000 }), ["HIGH Calls come close to the time limit"]],
    ["no calls", usageOf({ calls: 0 }), ["LOW Nobody calls it"]],
    [
      "one MCP tool worse than the rest",
      usageOf({
        byMcpTool: [
          { mcpTool: "radar", calls: 40, errors: 10, p95Ms: 3_000 },
          { mcpTool: "now", calls: 60, errors: 0, p95Ms: 30 },
        ],
      }),
      ["MEDIUM radar fails more than the rest", "LOW radar is slow"],
    ],
  ])("%s", (_, usage, expected) => {
    expect(shown(usageFindings(of({ usage, deployments })))).toEqual(expected);
  });
  test("a busy deployment with one replica should have two", () => {
    const busy = of({ usage: usageOf({ calls: 5_000 }), deployments: [deploymentOf({ desiredReplicas: 1 })] });
    expect(shown(usageFindings(busy))).toEqual(["MEDIUM weather-k3f9 has one replica"]);
  });
  test("unknown usage and a tool that does not run say nothing", () => {
    expect(usageFindings(of({ usage: null, deployments }))).toEqual([]);
    expect(usageFindings(of({ usage: usageOf({ calls: 0 }) }))).toEqual([]);
  });
});

describe("upkeep", () => {
  test("a described, tagged, documented and current tool needs nothing", () => {
    expect(upkeepFindings(of({ deployments: [deploymentOf()] }))).toEqual([]);
  });
  test("what is missing is named, unless it could not be read", () => {
    const bare = evidenceOf(toolOf({ description: "Weather", tags: [], launch: launchOf.stdio() }), { documents: [] });
    expect(shown(upkeepFindings(bare))).toEqual([
      "LOW The description is short",
      "INFO No tags",
      "LOW No documentation",
      "INFO Never deployed",
    ]);
    expect(shown(upkeepFindings({ ...bare, missing: ["documents", "deployments"] }))).toEqual([
      "LOW The description is short",
      "INFO No tags",
    ]);
  });
  test("a deployment of an older version is named", () => {
    expect(shown(upkeepFindings(of({ deployments: [deploymentOf({ digest: "sha256:2" })] })))).toEqual([
      "LOW weather-k3f9 runs an older version",
    ]);
  });
});
