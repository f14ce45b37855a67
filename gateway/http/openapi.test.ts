import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { buildSchema } from "graphql";
import { expect, test } from "vitest";
import { readDescribers } from "./route.ts";
import { createRestApi } from "../rest/rest-api.ts";
import { restRoutes } from "../rest/routes/index.ts";

const schema = buildSchema(readFileSync(new URL("../../schema/api.graphql", import.meta.url), "utf8"));
const document = JSON.parse(createRestApi(schema, restRoutes, await readDescribers()).openApi("").text) as {
  paths: Record<string, Record<string, { operationId: string; parameters: { name: string; description?: string }[] }>>;
  components: Record<string, Record<string, object>>;
};

test("the document is OpenAPI 3.1, and all its references lead somewhere", async () => {
  const validator = new Validator();
  expect(await validator.validate(structuredClone(document))).toEqual({ valid: true });
  expect(validator.version).toBe("3.1");
  for (const [, kind = "", name = ""] of JSON.stringify(document).matchAll(/"#\/components\/(\w+)\/(\w+)"/g))
    expect(document.components[kind], name).toHaveProperty(name);
});

test("every route of the table is in the document, under an id of its own", () => {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => ({
      route: `${method.toUpperCase()} ${path}`,
      operationId,
    })),
  );
  expect(operations.map(({ route }) => route)).toEqual(
    expect.arrayContaining(restRoutes.map(({ method, path }) => `${method} ${path}`)),
  );
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
});

test("parameters come from the operation's variables, with the graph's words", () => {
  const list = document.paths["/api/v1/mcps"]?.["get"]?.parameters ?? [];
  expect(list.map(({ name }) => name)).toEqual(["limit", "offset", "search", "tag", "include_deleted"]);
  for (const { name, description } of list) expect(description, name).toMatch(/\w/);
});
