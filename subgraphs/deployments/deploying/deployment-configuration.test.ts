import { createSchemaValidator } from "@toolyard/json-schema";
import { missingKeys, substitute } from "@toolyard/launch/placeholders.ts";
import { ToolyardError, createLogger } from "@toolyard/service-kit";
import { afterAll, describe, expect, test } from "vitest";
import { checkConfiguration, publicConfiguration } from "./deployment-configuration.ts";

const schema = {
  type: "object",
  required: ["city"],
  additionalProperties: false,
  properties: {
    city: { type: "string" },
    units: { enum: ["metric", "imperial"], default: "metric" },
    apiKey: { type: "string", writeOnly: true },
    server: { type: "object", properties: { password: { type: "string", writeOnly: true }, host: { type: "string" } } },
  },
};
const schemas = createSchemaValidator({ logger: createLogger({ level: "silent", name: "test" }) });
afterAll(() => schemas.close());

const problemsOf = async (given: unknown): Promise<unknown> => {
  try {
    await checkConfiguration(schemas, schema, given, null);
  } catch (error) {
    return error instanceof ToolyardError && error.extensions["problems"];
  }
  return null;
};

describe("a configuration", () => {
  test("takes the schema's defaults", async () => {
    expect(await checkConfiguration(schemas, schema, { city: "Bern" }, null)).toEqual({
      city: "Bern",
      units: "metric",
    });
  });
  test("that is wrong names every wrong place", async () => {
    expect(await problemsOf({ units: "kelvin", colour: 1 })).toEqual([
      { path: "input.configuration.city", message: "is required" },
      { path: "input.configuration.colour", message: "is not part of the tool's configuration" },
      {
        path: "input.configuration.units",
        message: 'must be equal to one of the allowed values: ["metric","imperial"]',
      },
    ]);
    expect(await problemsOf([1])).toEqual([{ path: "input.configuration", message: "must be a JSON object" }]);
  });
  test("shows nothing that is writeOnly, at any depth", () => {
    const shown = publicConfiguration(schema, {
      city: "Bern",
      apiKey: "s3cret",
      server: { password: "pw", host: "h" },
    });
    expect(shown).toEqual({ city: "Bern", apiKey: null, server: { password: null, host: "h" } });
  });
  test("is put into arguments by key, nested ones along their dots, other than text as JSON", () => {
    const configuration = { city: "Bern", limits: { days: 3 }, list: [1] };
    expect(substitute("--city=${config.city} ${config.limits.days} ${config.list} ${other}", configuration)).toBe(
      "--city=Bern 3 [1] ${other}",
    );
    expect(missingKeys("${config.city}${config.nope}${config.limits.nope}", configuration)).toEqual([
      "nope",
      "limits.nope",
    ]);
  });
});
