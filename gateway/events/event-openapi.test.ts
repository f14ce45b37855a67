import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { buildSchema } from "graphql";
import { expect, test } from "vitest";
import { createRestApi } from "../rest/rest-api.ts";
import { restRoutes } from "../rest/routes/index.ts";
import { describeEvents } from "./event-openapi.ts";

const schema = buildSchema(readFileSync(new URL("../../schema/api.graphql", import.meta.url), "utf8"));

test("GET /events is in the OpenAPI document, with a schema of what is sent for each topic", async () => {
  const document = JSON.parse(createRestApi(schema, restRoutes, [describeEvents]).openApi("").text) as {
    paths: Record<string, object>;
    tags: { name: string }[];
    components: { schemas: Record<string, object> };
  };
  expect(await new Validator().validate(structuredClone(document))).toEqual({ valid: true });
  expect(document.paths).toHaveProperty(["/events", "get"]);
  expect(document.tags).toContainEqual({ name: "Events" });
  for (const [, name = ""] of JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g))
    expect(document.components.schemas, name).toHaveProperty(name);
  expect(Object.keys(document.components.schemas)).toEqual(
    expect.arrayContaining(["Event", "DeploymentEvent", "HealthEvent", "TaskEvent", "ToolEvent"]),
  );
});
