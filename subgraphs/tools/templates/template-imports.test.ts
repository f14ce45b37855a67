import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  admin,
  createToolsFixture,
  developer,
  otherDeveloper,
  viewer,
  type ToolsFixture,
} from "../fixtures/subgraph.ts";

const IMPORT = `mutation ($json: JSON!) { importServer(json: $json) {
  id name description version repository source authorId author { id } configSchema launch { ... on StdioLaunch { args } } } }`;
const DELETE = `mutation ($id: ID!) { deleteTemplate(id: $id) { id name } }`;
const MAKE = `mutation ($id: ID!) { createToolFromTemplate(templateId: $id, input: {}) { id templateId template { id } configSchema } }`;
const LIST = `query ($search: String) { templates(search: $search) { totalCount edges { node { id source } } } }`;

const serverOf = (name: string, version = "1.0.0") => ({
  name,
  title: "Parcels",
  description: "Where a parcel is",
  version,
  packages: [
    {
      registryType: "npm",
      identifier: "parcels-mcp",
      version,
      transport: { type: "stdio" },
      environmentVariables: [{ name: "PARCELS_KEY", isRequired: true, isSecret: true }],
    },
  ],
});

let fixture: ToolsFixture;
beforeAll(async () => {
  fixture = await createToolsFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

interface Imported {
  importServer: { id: string; version: string; configSchema: object };
}
const bring = async (json: object, caller = developer) =>
  (await dataOf<Imported>(fixture.subgraph, IMPORT, { json }, caller)).importServer;

test("a server that was imported is a template as others are, over a restart", async () => {
  const template = await bring(serverOf("com.example/parcels"));
  expect(template).toMatchObject({
    id: "com.example-parcels",
    name: "Parcels",
    version: "1.0.0",
    source: "IMPORTED",
    authorId: developer.userId,
    author: { id: developer.userId },
    configSchema: { properties: { PARCELS_KEY: { writeOnly: true } }, required: ["PARCELS_KEY"] },
    launch: { args: ["-y", "parcels-mcp@1.0.0"] },
  });
  await fixture.reopen();
  expect(await dataOf(fixture.subgraph, LIST, { search: "where parcel" }, viewer)).toEqual({
    templates: { totalCount: 1, edges: [{ node: { id: template.id, source: "IMPORTED" } }] },
  });
  expect(await dataOf(fixture.subgraph, MAKE, { id: template.id }, otherDeveloper)).toMatchObject({
    createToolFromTemplate: {
      templateId: template.id,
      template: { id: template.id },
      configSchema: template.configSchema,
    },
  });
});

test("another version takes its place, by who imported it or an administrator", async () => {
  const name = "com.example/moving";
  const { id } = await bring(serverOf(name));
  expect(await bring(serverOf(name, "1.1.0"))).toMatchObject({ id, version: "1.1.0" });
  expect(await codeOf(fixture.subgraph, IMPORT, { json: serverOf(name, "6.6.6") }, otherDeveloper)).toBe("FORBIDDEN");
  expect(await bring(serverOf(name, "1.2.0"), admin)).toMatchObject({ id, authorId: admin.userId });
});

test("ids of other servers and of Toolyard's own templates are not taken", async () => {
  await bring(serverOf("a.b/c-d"));
  expect(await codeOf(fixture.subgraph, IMPORT, { json: serverOf("a.b-c/d") }, developer)).toBe("CONFLICT");
  // As `brave-search` of the catalogue.
  expect(await codeOf(fixture.subgraph, IMPORT, { json: serverOf("brave/search") }, admin)).toBe("CONFLICT");
});

test("only developers and administrators import, and delete what is theirs; tools stay", async () => {
  const json = serverOf("com.example/passing");
  expect(await codeOf(fixture.subgraph, IMPORT, { json })).toBe("UNAUTHENTICATED");
  expect(await codeOf(fixture.subgraph, IMPORT, { json }, viewer)).toBe("FORBIDDEN");
  const { id } = await bring(json);
  const made = await dataOf<{ createToolFromTemplate: { id: string } }>(fixture.subgraph, MAKE, { id }, developer);
  expect(await codeOf(fixture.subgraph, DELETE, { id }, viewer)).toBe("FORBIDDEN");
  expect(await codeOf(fixture.subgraph, DELETE, { id }, otherDeveloper)).toBe("FORBIDDEN");
  expect(await codeOf(fixture.subgraph, DELETE, { id: "memory" }, admin)).toBe("NOT_FOUND");
  expect(await dataOf(fixture.subgraph, DELETE, { id }, developer)).toEqual({
    deleteTemplate: { id, name: "Parcels" },
  });
  expect(await codeOf(fixture.subgraph, DELETE, { id }, developer)).toBe("NOT_FOUND");
  const query = `query ($id: ID) { tool(id: $id) { templateId template { id } } }`;
  expect(await dataOf(fixture.subgraph, query, { id: made.createToolFromTemplate.id }, viewer)).toEqual({
    tool: { templateId: id, template: null },
  });
});

test("one user has a hundred at most", async () => {
  for (let count = 0; count < 100; count += 1) await bring(serverOf(`com.example/many-${count}`), otherDeveloper);
  const { errors } = await executeOn(
    fixture.subgraph,
    IMPORT,
    { json: serverOf("com.example/too-many") },
    otherDeveloper,
  );
  expect(errors).toMatchObject([{ code: "CONFLICT", message: expect.stringContaining("Delete one first") }]);
  // One of them may still be brought up to date.
  expect(await bring(serverOf("com.example/many-7", "2.0.0"), otherDeveloper)).toMatchObject({ version: "2.0.0" });
});
