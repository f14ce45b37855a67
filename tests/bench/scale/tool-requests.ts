import { randomUUID } from "node:crypto";
import { encodeCursor } from "@toolyard/service-kit";
import { query, missed, type Request } from "./asking.ts";
import { COMMON_NAME, COMMON_WORD, RARE_WORD, toolId } from "./names.ts";

const PAGE = "edges { node { id slug name tags } } pageInfo { hasNextPage endCursor }";
const WHOLE_PAGE = `edges { node { slug name author { username } currentVersion { number digest } versions(first: 5) { edges { node { number } } }
  deployments(first: 5) { edges { node { name status health } } } } }`;
const near = (index: number) => encodeCursor(toolId(index));
const search = (text: string) => `{ tools(first: 20, search: ${JSON.stringify(text)}) { ${PAGE} } }`;
const launch = { stdio: { command: "some-server", args: ["--quiet"] } };
let changes = 0;

export const toolRequests: Request[] = [
  query("a page of 100 tools", "tools", `{ tools(first: 100) { ${PAGE} } }`),
  query(
    "a page of 100 tools with authors, versions and deployments",
    "tools",
    `{ tools(first: 100) { ${WHOLE_PAGE} } }`,
  ),
  query("a page of 100 tools with `totalCount`", "tools", `{ tools(first: 100) { totalCount ${PAGE} } }`),
  query(
    "a page of 100 tools near the end, by `after`",
    "tools",
    `query ($after: String) { tools(first: 100, after: $after) { ${PAGE} } }`,
    () => ({ after: near(50) }),
  ),
  query(
    "a page of 20 tools near the end, by `offset`",
    "tools",
    `query ($offset: Int) { tools(first: 20, offset: $offset) { ${PAGE} } }`,
    ({ tools }) => ({ offset: Math.floor(tools * 0.9) }),
  ),
  query("tools by a word that one has", "tools", search(RARE_WORD)),
  query("tools by a word that all have", "tools", search(COMMON_WORD)),
  query(
    "tools by a word that all have, and `totalCount`",
    "tools",
    search(COMMON_WORD).replace("{ edges", "{ totalCount edges"),
  ),
  query("tools by a word that none has", "tools", search("xylophone")),
  query("tools by two letters that one has", "tools", search(RARE_WORD.slice(0, 2))),
  query("tools by two words that all have, one that one has", "tools", search(`${COMMON_WORD} the ${RARE_WORD}`)),
  query("tools by a tag that half have", "tools", `{ tools(first: 20, tag: "even") { ${PAGE} } }`),
  query("tools by a tag that one in 1,000 has", "tools", `{ tools(first: 20, tag: "of-7") { totalCount ${PAGE} } }`),
  query(
    "a page of 100 tools with deleted ones and `totalCount`",
    "tools",
    `{ tools(first: 100, includeDeleted: true) { totalCount ${PAGE} } }`,
  ),
  missed("a slug that no tool has, and what is close to it", "tools", '{ tool(slug: "toool-1") { name } }'),
  query("one tool, by slug", "tools", `{ tool(slug: "tool-1") { name } }`),
  query(
    "`createTool` with a name that half the tools have",
    "tools",
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { slug } }",
    () => ({ input: { name: COMMON_NAME, description: `It ${COMMON_WORD} again.`, tags: ["new"], launch } }),
  ),
  query(
    "`createTool` with a new name",
    "tools",
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { slug } }",
    () => ({ input: { name: `Singular ${randomUUID()}`, description: "It is new.", launch } }),
  ),
  query(
    "`updateTool`",
    "tools",
    "mutation ($id: ID!, $input: UpdateToolInput!) { updateTool(id: $id, input: $input) { id } }",
    () => ({ id: toolId(3), input: { description: `Changed ${(changes += 1)} times.` } }),
  ),
  query(
    "`_entities` of 100 tools, by usage records",
    "tools",
    `{ usageRecords(first: 100) { edges { node { tool { name author { username } } } } } }`,
  ),
];
