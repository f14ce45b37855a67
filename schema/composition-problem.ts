/** A problem that composition finds in subgraphs' schemas (an error), or a remark about them (a hint). */
export interface CompositionProblem {
  /** Of https://www.apollographql.com/docs/graphos/reference/federation/errors, or of Apollo's hints. */
  code: string;
  message: string;
  /** Where it is in the subgraphs' SDL, lines and columns from 1; none where it is about the whole. */
  locations: readonly ProblemLocation[];
}

export interface ProblemLocation {
  subgraph: string;
  /** The file or the URL of the SDL, where there is one. */
  origin: string | null;
  line: number;
  column: number;
}

/** A problem in one line: `FIELD_TYPE_MISMATCH products products.graphql:3:5, reviews reviews.graphql:4:7: Type of field … `. */
export function describeProblem({ code, message, locations }: CompositionProblem): string {
  const places = [...new Set(locations.map(describeLocation))].join(", ");
  const where = places === "" ? code : `${code} ${places}`;
  // Some of composition's messages end with an empty line.
  return `${where}: ${message.trim()}`;
}

function describeLocation({ subgraph, origin, line, column }: ProblemLocation): string {
  return `${subgraph} ${origin ?? ""}${origin === null ? "" : ":"}${line}:${column}`;
}

/** Problems as people read them, one after the other. Composition writes lists and operations into its messages: these lines are indented. */
export function describeProblems(problems: readonly CompositionProblem[]): string {
  return problems.map((problem) => `- ${describeProblem(problem).replaceAll("\n", "\n  ")}`).join("\n");
}
