import type { Evidence } from "../evidence.ts";
import type { Citation } from "../reports.ts";
import { coverage, sentencesOf, wordsOf } from "./words.ts";

export interface RequirementMatch {
  requirement: string;
  /** The share of its words that the evidence speaks of together, from 0 to 1. */
  coverage: number;
  verdict: "met" | "partly" | "unmet";
  citations: Citation[];
}

/** Words spread over a whole document say less than words of one passage. */
const SPREAD_WEIGHT = 0.7;
const MET = 0.6;
const PARTLY = 0.3;
const MAX_CITATIONS = 3;

/** How well each requirement is covered by the name, description, tags, known MCP tools and documents. By words, not by meaning. */
export function matchRequirements(requirements: readonly string[], evidence: Evidence): RequirementMatch[] {
  const own = new Set(wordsOf(ownText(evidence)));
  const documents = evidence.documents.map(({ id, title, content }) => ({
    id,
    words: new Set(wordsOf(`${title} ${content}`)),
    sentences: sentencesOf(content).map((text) => ({ text, words: new Set(wordsOf(`${title} ${text}`)) })),
  }));

  return requirements.map((requirement) => {
    const wanted = [...new Set(wordsOf(requirement))];
    let best = coverage(wanted, own);
    const passages: { citation: Citation; coverage: number }[] = [];
    for (const { id, words, sentences } of documents) {
      best = Math.max(best, SPREAD_WEIGHT * coverage(wanted, words));
      for (const { text, words: sentenceWords } of sentences) {
        const share = coverage(wanted, sentenceWords);
        best = Math.max(best, share);
        if (share >= PARTLY) passages.push({ citation: { documentId: id, quote: text }, coverage: share });
      }
    }
    const citations = passages
      .toSorted((a, b) => b.coverage - a.coverage)
      .slice(0, MAX_CITATIONS)
      .map(({ citation }) => citation);
    return { requirement, coverage: best, verdict: verdictOf(best), citations };
  });
}

function ownText({ tool, description, usage }: Evidence): string {
  const called = usage?.byMcpTool.map(({ mcpTool }) => mcpTool) ?? [];
  return [tool?.name ?? "", description, ...(tool?.tags ?? []), ...called].join(" ");
}

function verdictOf(share: number): RequirementMatch["verdict"] {
  if (share >= MET) return "met";
  return share >= PARTLY ? "partly" : "unmet";
}
