import type { z } from "zod";
import { badInput } from "./errors.ts";

/** Parses by a zod schema. @throws ToolyardError BAD_USER_INPUT with a problem for each issue, paths below `at`. */
export function parseInput<Schema extends z.ZodType>(schema: Schema, value: unknown, at = "input"): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw badInput(
    parsed.error.issues.map((issue) => ({
      path: [at, ...issue.path].filter((part) => part !== "").join("."),
      message: issue.message,
    })),
  );
}
