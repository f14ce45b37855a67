import type { Sizes } from "./fill.ts";
import type { Program } from "./program.ts";

/** What is asked of an installation at each size. */
export interface Request {
  what: string;
  /** The size that its cost is held against. */
  of: keyof Sizes;
  ask(program: Program, sizes: Sizes): Promise<unknown>;
  /** How many rows it is about, where that is not one: costs are given for each. */
  each?: (sizes: Sizes) => number;
  /** Asked once, without warming up. */
  once?: boolean;
  /** All that Toolyard does once an hour begins with it. */
  housekeeping?: boolean;
}

/** A query whose variables are made anew each time. */
export function query(
  what: string,
  of: keyof Sizes,
  text: string,
  variables: (sizes: Sizes) => Record<string, unknown> = () => ({}),
): Request {
  return { what, of, ask: (program, sizes) => program.query(text, variables(sizes)) };
}

/** One that may be refused. */
export function missed(what: string, of: keyof Sizes, text: string): Request {
  return { what, of, ask: ({ query: send }) => send(text).catch(() => undefined) };
}
