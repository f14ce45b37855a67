import type { Graph } from "./graph.ts";

const PAGE = 100;

interface Page<Node> {
  edges: { node: Node }[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

/** All nodes of a connection. @param query Takes `$first` and `$after` beside the variables, and answers the connection as `field` */
export async function allPages<Node>(
  graph: Graph,
  field: string,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Node[]> {
  const found: Node[] = [];
  for (let after: string | null = null; ;) {
    const answer: Record<string, Page<Node>> = await graph.query(query, { ...variables, first: PAGE, after });
    const page = answer[field];
    if (!page) return found;
    const { edges, pageInfo } = page;
    found.push(...edges.map(({ node }) => node));
    if (!pageInfo.hasNextPage) return found;
    after = pageInfo.endCursor;
  }
}
