/** What everything in a filled installation is called: made of indices alone, so two runs fill alike. */
import { createHash } from "node:crypto";
import { v7 } from "uuid";

export const HOUR_MS = 60 * 60_000;
export const DAY_MS = 24 * HOUR_MS;
export const now = Date.now();
/** Usage goes back further than it is kept: housekeeping has a quarter of it to remove. */
export const DAYS = 40;

/** The index of the tool, the user and the deployment that have more than others. */
export const HOT = 1;
/** UUIDs of a kind that anyone can name by an index, in order of time. */
export function idOf(kind: string, index: number): string {
  const random = createHash("sha256").update(`${kind}/${index}`).digest().subarray(0, 16);
  return v7({ msecs: now - 60 * DAY_MS + index, seq: 0, random });
}

export const toolId = (index: number) => idOf("tool", index);
export const userId = (index: number) => idOf("user", index);
export const deploymentId = (index: number) => idOf("deployment", index);
export const createdAt = (index: number) => now - 60 * DAY_MS + index;
export const digestOf = (text: string) => createHash("sha256").update(text).digest("hex");

export const COMMON_NAME = "Weather station";
export const COMMON_WORD = "measures";
/** A word of one tool, and of one document. */
export const RARE_WORD = "quokka";
const VOCABULARY = [
  "river",
  "harbour",
  "signal",
  "garden",
  "lantern",
  "meadow",
  "compass",
  "thunder",
  "velvet",
  "anchor",
];
export const word = (seed: number) =>
  `${VOCABULARY[seed % VOCABULARY.length]}${Math.floor(seed / VOCABULARY.length) % 400}`;

/** With gaps between the numbers of one size and the next, for tools that are created meanwhile. */
export function slugOf(index: number): string {
  return index % 2 === 0 ? `weather-station-${String(index).length * 1_000 + index}` : `tool-${index}`;
}

export function toolText(index: number): { name: string; description: string; tags: string[] } {
  return {
    name: index % 2 === 0 ? COMMON_NAME : `Tool of the ${word(index)}`,
    description: `It ${COMMON_WORD} the ${word(index * 7)} and the ${word(index * 13)}${index === 7 ? ` of the ${RARE_WORD}` : ""}.`,
    tags: [index % 2 === 0 ? "even" : "odd", `of-${index % 1_000}`],
  };
}
