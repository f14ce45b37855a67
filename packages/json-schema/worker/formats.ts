import type { Format } from "ajv/dist/2020.js";
import { fullFormats } from "ajv-formats/dist/formats.js";
import { createLinearPattern } from "./linear-pattern.ts";

/** Those of them that must be short are: their own expressions look ahead, or are not linear. */
const MAX_CHARACTERS = 2_048;

/** The formats that a schema may name, each checked in linear time. */
export const formats: Record<string, Format> = Object.fromEntries(
  Object.entries(fullFormats).map(([name, format]) => [name, bounded(format)]),
);

function bounded(format: Format): Format {
  if (format instanceof RegExp) {
    try {
      const { test } = createLinearPattern(format.source, format.flags);
      return test;
    } catch {
      return (text: string) => text.length <= MAX_CHARACTERS && format.test(text);
    }
  }
  if (typeof format === "function") return (text: string) => text.length <= MAX_CHARACTERS && format(text);
  return format;
}
