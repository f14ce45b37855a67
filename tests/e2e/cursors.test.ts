import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import fc from "fast-check";
import { getNamedType, buildSchema, isObjectType } from "graphql";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const TOOL = (selection: string) => `tools(first: 1) { edges { node { ${selection} { pageInfo { hasNextPage } } } } }`;
/** How each connection of the graph is asked for; `$after` is the cursor. */
const CONNECTIONS: Record<string, string> = {
  "Query.tasks": "tasks(after: $after) { totalCount }",
  "Query.deployments": "deployments(after: $after) { totalCount }",
  "Query.usageRecords": "usageRecords(after: $after) { totalCount }",
  "Query.releases": "releases(after: $after) { totalCount }",
  "Query.auditLog": "auditLog(after: $after) { totalCount }",
  "Query.users": "users(after: $after) { totalCount }",
  "Query.documents": "documents(after: $after) { totalCount }",
  "Query.searchDocuments": 'searchDocuments(query: "everything", after: $after) { totalCount }',
  "Query.tools": "tools(after: $after) { totalCount }",
  "Query.myTools": "myTools(after: $after) { totalCount }",
  "Query.sharedWithMe": "sharedWithMe(after: $after) { totalCount }",
  "Query.templates": "templates(after: $after) { totalCount }",
  "Deployment.events":
    "deployments(first: 1) { edges { node { events(after: $after) { pageInfo { hasNextPage } } } } }",
  "Tool.tasks": TOOL("tasks(after: $after)"),
  "Tool.deployments": TOOL("deployments(after: $after)"),
  "Tool.documents": TOOL("documents(after: $after)"),
  "Tool.versions": TOOL("versions(after: $after)"),
  "Template.deployments": "templates(first: 1) { edges { node { deployments(after: $after) { totalCount } } } }",
};

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
beforeAll(async () => {
  toolyard = await startToolyard();
  admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

test("the table has every list of the graph that takes a cursor", () => {
  const schema = buildSchema(readFileSync(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
  const lists = Object.values(schema.getTypeMap()).flatMap((type) =>
    isObjectType(type)
      ? Object.values(type.getFields()).flatMap((field) =>
          getNamedType(field.type).name.endsWith("Connection") && field.args.some(({ name }) => name === "after")
            ? [`${type.name}.${field.name}`]
            : [],
        )
      : [],
  );
  expect(Object.keys(CONNECTIONS).toSorted()).toEqual(lists.toSorted());
});

const base64 = (text: string) => Buffer.from(text).toString("base64url");
const crafted = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ maxLength: 40 }).map((text) => base64(`c:${text}`)),
  fc
    .constantFrom("NaN", "Infinity", "1e400", "-1", "1 OR 1=1", "'", "\0", "99999999999999999999")
    .map((id) => base64(`c:${id}`)),
);

test.each(Object.keys(CONNECTIONS))("a crafted cursor of %s is the client's fault", async (name) => {
  const query = `query ($after: String) { ${CONNECTIONS[name]} }`;
  await fc.assert(
    fc.asyncProperty(crafted, async (after) => {
      const { errors } = await admin.send(query, { after });
      for (const { extensions } of errors) expect(extensions?.["code"]).toBe("BAD_USER_INPUT");
    }),
    { numRuns: 25 },
  );
});
