import { z } from "zod";
import { optionsSchema, shownLaunchSchema, type LaunchKind } from "./launch.ts";

const TYPES = {
  stdio: "StdioLaunch",
  http: "HttpLaunch",
  image: "ImageLaunch",
  remote: "RemoteLaunch",
} as const satisfies Record<LaunchKind, string>;

/** The member of the union Launch that a launch of this kind is. */
export function launchTypeOf({ kind }: { kind: LaunchKind }): (typeof TYPES)[LaunchKind] {
  return TYPES[kind];
}

/** Selects all fields of what the schema parses, whatever may be left out of it. */
function selectionOf({ shape }: z.ZodObject): string {
  const fields = Object.entries(shape).map(([name, field]) => {
    let inner = field;
    while (inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault || inner instanceof z.ZodNullable)
      inner = inner.def.innerType;
    return inner instanceof z.ZodObject ? `${name} ${selectionOf(inner)}` : name;
  });
  return `{ ${fields.join(" ")} }`;
}

/** Selects all options of a launch. */
export const OPTIONS_SELECTION = selectionOf(optionsSchema);

/** Selects all of a launch. graph.test.ts holds it to launch.graphql. */
export const LAUNCH_FRAGMENT = `
  fragment WholeLaunch on Launch {
    __typename
    ... on StdioLaunch { command args env { ...WholeVariable } workingDirectory writablePaths sessions maxSessions idleSeconds maxMessageBytes options { ...WholeOptions } }
    ... on HttpLaunch { command args env { ...WholeVariable } workingDirectory writablePaths path options { ...WholeOptions } }
    ... on ImageLaunch { image args env { ...WholeVariable } writablePaths port path options { ...WholeOptions } }
    ... on RemoteLaunch { url urlSecret paths headers { ...WholeVariable } options { ...WholeOptions } }
  }
  fragment WholeVariable on EnvVar { name value secret }
  fragment WholeOptions on LaunchOptions ${OPTIONS_SELECTION}
`;

const KINDS = new Map<unknown, string>(Object.entries(TYPES).map(([kind, type]) => [type, kind]));

/** The result of the fragment. */
export const launchFromGraph = z.preprocess(
  (value) =>
    typeof value === "object" && value !== null && "__typename" in value
      ? { ...value, kind: KINDS.get(value.__typename) }
      : value,
  shownLaunchSchema,
);
