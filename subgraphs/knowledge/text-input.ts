import { z } from "zod";

/** One line of visible text; surrounding space is dropped. */
export const line = (maxLength: number) =>
  z
    .string()
    .trim()
    .min(1, "must not be empty")
    .max(maxLength, `must have at most ${maxLength} characters`)
    .refine((text) => !/\p{Cc}/u.test(text), "must be one line, without control characters")
    .refine((text) => text.isWellFormed(), "must be well-formed Unicode");
