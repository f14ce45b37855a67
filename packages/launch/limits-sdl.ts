import { LIMITS, type Limit } from "./limits.ts";

/** The limits of each type's numbers, by its name in the graph; those of an input have the same, with `Input` at the name's end. */
const TYPES = new Map<string, Readonly<Record<string, Limit>>>(
  Object.entries({
    LaunchOptions: LIMITS.options,
    HealthOptions: LIMITS.health,
    Resources: LIMITS.resources,
    StdioLaunch: LIMITS.stdio,
    ImageLaunch: LIMITS.image,
  }),
);

/**
 * The SDL of launches with what limits.ts says: of a number that a client gives its bounds and default, of each what null stands for. A field
 * and its description have a line each.
 */
export function withLimits(sdl: string): string {
  const lines = sdl.split("\n");
  let type = "";
  const limitOf = (line: string | undefined): Limit | undefined =>
    TYPES.get(type.replace(/Input$/, ""))?.[/^ {2}(\w+): Int\b/.exec(line ?? "")?.[1] ?? ""];
  return lines
    .map((line, index) => {
      type = /^(?:input|type) (\w+)/.exec(line)?.[1] ?? type;
      const isInput = type.endsWith("Input");
      const described = limitOf(lines[index + 1]);
      if (described) {
        const { least, most, whenNull } = described;
        const more = [whenNull === undefined ? "" : ` Null: ${whenNull}.`, isInput ? ` ${least} to ${most}.` : ""];
        return line.replace(/"$/, `${more.join("")}"`);
      }
      const fallback = isInput ? limitOf(line)?.default : null;
      return fallback == null ? line : `${line} = ${fallback}`;
    })
    .join("\n");
}
