import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { analysisProviderContract } from "../analysis-provider.contract.ts";
import { described, evidenceOf, launchOf, toolOf } from "../fixtures/evidence.ts";
import { withCheckedCitations } from "../reports.ts";
import { matchRequirements } from "./requirement-match.ts";
import { createRulesProvider } from "./rules-provider.ts";
import { stem, wordsOf } from "./words.ts";

const provider = createRulesProvider();
const { signal } = new AbortController();

describe("the rules provider", () => {
  analysisProviderContract(createRulesProvider);

  test("a critical risk makes it infeasible, whatever fits", async () => {
    const launch = launchOf.remote("https://me:secret@mcp.example.com/mcp");
    const report = await provider.feasibility(evidenceOf(toolOf({ launch })), ["weather forecast"], signal);
    expect(report).toMatchObject({ feasible: false, risks: [{ severity: "CRITICAL" }, {}] });
  });

  test("the score falls with each risk and with each requirement that nothing covers", async () => {
    const scoreOf = async (launch = launchOf.stdio(), requirements = ["weather forecast"]) =>
      (await provider.feasibility(evidenceOf(toolOf({ launch })), requirements, signal)).score;
    const best = await scoreOf();
    expect(best).toBe(1);
    expect(await scoreOf(launchOf.stdio({ args: ["-y", "floating"] }))).toBeLessThan(best);
    expect(await scoreOf(launchOf.stdio(), ["weather forecast", "book restaurants"])).toBe(0.5);
  });

  test("a description that names nothing to run scores lower than one that does", async () => {
    const vague = await provider.feasibility(described("Tells the weather."), [], signal);
    const clear = await provider.feasibility(described("Tells the weather: `uvx weather==1.0`"), [], signal);
    expect(vague.score).toBeLessThan(clear.score);
    expect(vague.risks).toMatchObject([{ title: "No way to launch it is named" }]);
  });
});

describe("requirements", () => {
  test("words meet over endings, cases and compounds, not over stop words", () => {
    expect(wordsOf("Searching the issues of GitHub")).toEqual(wordsOf("search issue git hub"));
    expect(stem("stories")).toBe(stem("story"));
    expect(stem("planned")).toBe(stem("plan"));
    const [match] = matchRequirements(["It should be able to use the tool"], evidenceOf(toolOf()));
    expect(match?.verdict).toBe("unmet");
  });

  test("words of one passage count more than words spread over a document", () => {
    const together = [{ id: "d", title: "", content: "It exports invoices as PDF. Other text." }];
    const spread = [{ id: "d", title: "", content: "It exports data. Invoices are listed. PDF is a format." }];
    const verdict = (documents: typeof together) =>
      matchRequirements(["export invoices PDF"], evidenceOf(toolOf(), { documents }))[0]?.coverage;
    expect(verdict(together)).toBe(1);
    expect(verdict(spread)).toBe(0.7);
  });

  test("whatever the texts, coverage is from 0 to 1 and every quote occurs in its document", () => {
    const word = fc.constantFrom("forecast", "Weather", "days.", "city", "\n", "exports", "— naïve", "💧", "Größe");
    const text = fc.oneof(
      fc.array(word, { maxLength: 60 }).map((words) => words.join(" ")),
      fc.string({ unit: "grapheme", maxLength: 900 }),
    );
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 4 }),
        fc.array(text, { minLength: 1, maxLength: 3 }),
        (contents, requirements) => {
          const documents = contents.map((content, index) => ({ id: `d${index}`, title: "Guide", content }));
          const evidence = evidenceOf(toolOf(), { documents });
          for (const { coverage, citations, verdict } of matchRequirements(requirements, evidence)) {
            expect(coverage).toBeGreaterThanOrEqual(0);
            expect(coverage).toBeLessThanOrEqual(1);
            const finding = { title: verdict, detail: "", severity: "INFO" as const, location: null, citations };
            expect(withCheckedCitations([finding], documents)).toEqual([finding]);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  test("a quote that is not in its document is dropped", () => {
    const citations = [
      { documentId: "d", quote: "fourteen days" },
      { documentId: "d", quote: "forty days" },
      { documentId: "other", quote: "fourteen days" },
    ];
    const finding = { title: "t", detail: "", severity: "INFO" as const, location: null, citations };
    expect(
      withCheckedCitations([finding], [{ id: "d", content: "It reaches fourteen days ahead." }])[0]?.citations,
    ).toEqual(citations.slice(0, 1));
  });
});
