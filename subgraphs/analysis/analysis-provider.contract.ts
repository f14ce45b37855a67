import { expect, test } from "vitest";
import type { AnalysisProvider } from "./analysis-provider.ts";
import { described, deploymentOf, evidenceOf, toolOf, usageOf } from "./fixtures/evidence.ts";
import {
  feasibilityReportSchema,
  generatedConfigSchema,
  improvementReportSchema,
  withCheckedCitations,
} from "./reports.ts";

/** What every provider must show: the same shape of result, whatever is known. */
export function analysisProviderContract(createProvider: () => AnalysisProvider): void {
  const provider = createProvider();
  const { signal } = new AbortController();
  const evidence = evidenceOf(toolOf(), { usage: usageOf(), deployments: [deploymentOf()] });
  const bare = evidenceOf(toolOf({ description: "", tags: [] }), { documents: [], missing: ["usage"] });

  test.each([
    ["a tool", evidence],
    ["a bare tool", bare],
    ["a description", described("A server for the weather, `uvx weather`.")],
    ["nothing but words", described("?")],
  ])("feasibility of %s is a report signed by the provider", async (_, about) => {
    const report = await provider.feasibility(about, ["forecast", "???"], signal);
    expect(feasibilityReportSchema.parse(report)).toEqual(report);
    expect(report.provider).toBe(provider.name);
    expect(report.requirements.slice(0, 2)).toEqual(["forecast", "???"]);
  });

  test.each([
    ["a tool", evidence],
    ["a bare tool", bare],
  ])("improvements of %s are a report", async (_, about) => {
    const report = await provider.improvements(about, signal);
    expect(improvementReportSchema.parse(report)).toEqual(report);
    expect(report.provider).toBe(provider.name);
  });

  test.each([
    ["a tool", evidence],
    ["a description", described("`npx -y weather@1.0.0` with WEATHER_KEY")],
    ["nothing but words", described("?")],
  ])("a configuration for %s has a schema and an explanation", async (_, about) => {
    const config = await provider.generateConfig(about, signal);
    expect(generatedConfigSchema.parse(config)).toEqual(config);
    expect(config.provider).toBe(provider.name);
  });

  test("quotes occur in the documents", async () => {
    const content = "Forecasts reach fourteen days ahead. Maps are drawn hourly.";
    const cited = evidenceOf(toolOf(), { documents: [{ id: "d", title: "Guide", content }] });
    const { risks } = await provider.feasibility(cited, ["forecasts of fourteen days"], signal);
    expect(withCheckedCitations(risks, cited.documents)).toEqual(risks);
  });
}
