import { createSchemaValidator } from "@toolyard/json-schema";
import { createLogger } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { described, evidenceOf, launchOf, toolOf } from "../fixtures/evidence.ts";
import { shownLaunchSchema } from "@toolyard/launch";
import { configKey, generateConfig, suggestLaunch, variableNamesOf } from "./generate-config.ts";

describe("the launch that a description names", () => {
  // Each took longer than anybody waits, or would if two parts of a pattern could share the same text.
  test.each([
    "--a ",
    "--a=-b ",
    "-a b ",
    "--a--a ",
    "a/",
    "a.",
    "`",
    "npx ",
    "docker run ",
    "http://",
    "@a/",
    "A_A_",
    "image ",
  ])("is looked for in a text of many %j in time that grows with it", (unit) => {
    for (const begin of [
      "",
      "docker run ",
      "npx ",
      "npm install ",
      "image ",
      "pip install ",
      "ghcr.io/",
      "registry.",
    ]) {
      const text = `${begin}${unit.repeat(20_000 / unit.length)}!`;
      suggestLaunch(text);
      variableNamesOf(text);
    }
  });

  test.each([
    [
      "Run `npx -y @acme/server@1.0.0 --stdio` for it.",
      { kind: "stdio", command: "npx", args: ["-y", "@acme/server@1.0.0", "--stdio"] },
    ],
    ["Start it with npx -y @acme/server.", { command: "npx", args: ["-y", "@acme/server"] }],
    ["uvx mcp-server-time tells the time", { command: "uvx", args: ["mcp-server-time"] }],
    ["`python server.py --port 1`", { command: "python", args: ["server.py", "--port", "1"] }],
    ["docker run -i --rm ghcr.io/acme/server:1.2", { kind: "image", image: "ghcr.io/acme/server:1.2", port: 3_000 }],
    ["The image ghcr.io/acme/server:1.2 listens on port 8080.", { image: "ghcr.io/acme/server:1.2", port: 8_080 }],
    ["Hosted at https://mcp.acme.test/v1/mcp.", { kind: "remote", url: "https://mcp.acme.test/v1/mcp" }],
    ["npm install @acme/server", { command: "npx", args: ["-y", "@acme/server"] }],
    ["pip install acme-server==1.1", { command: "uvx", args: ["acme-server==1.1"] }],
    ["It is @acme/server on npm.", { command: "npx", args: ["-y", "@acme/server"] }],
    ["Try mcp-server-fetch.", { command: "uvx", args: ["mcp-server-fetch"] }],
  ])("%s", (description, launch) => {
    const suggested = suggestLaunch(description).launch;
    expect(suggested).toMatchObject(launch);
    expect(shownLaunchSchema.safeParse(suggested).success).toBe(true);
  });

  test.each(["A server that tells the weather.", "See https://acme.test/docs for more.", "Mail me@acme.test"])(
    "%s names none",
    (description) => {
      expect(suggestLaunch(description)).toMatchObject({
        launch: null,
        warnings: [expect.stringContaining("Name what runs")],
      });
    },
  );

  test("what floats or is guessed is warned of", () => {
    expect(suggestLaunch("npx -y @acme/server").warnings.join()).toMatch("not pinned");
    expect(suggestLaunch("npx -y @acme/server@1.0.0").warnings).toEqual([]);
    expect(suggestLaunch("mcp-server-fetch").warnings.join()).toMatch("check which");
    expect(suggestLaunch("docker pull acme/server").warnings.join()).toMatch("not pinned");
  });
});

describe("the configuration", () => {
  test("words that look like variables become properties and reach the launch", () => {
    const { launch, configSchema, explanation } = generateConfig(
      described(
        "`npx -y @acme/gh@1.0.0` needs GITHUB_TOKEN and GITHUB_API_URL; MAX_RETRY_COUNT and ENABLE_CACHE are optional.",
      ),
    );
    expect(configSchema).toMatchObject({
      type: "object",
      properties: {
        githubToken: { type: "string", writeOnly: true },
        githubApiUrl: { type: "string", format: "uri" },
        maxRetryCount: { type: "integer" },
        enableCache: { type: "boolean" },
      },
    });
    expect(launch).toMatchObject({
      env: [{ name: "GITHUB_TOKEN", value: "${config.githubToken}", secret: false }, {}, {}, {}],
    });
    expect(explanation).toMatch("GITHUB_TOKEN");
  });

  test("the schema is valid JSON Schema 2020-12 and takes what it asks for", async () => {
    const { configSchema } = generateConfig(described("uvx acme needs ACME_API_KEY and ACME_URL."));
    const schemas = createSchemaValidator({ logger: createLogger({ level: "silent", name: "test" }) });
    try {
      await schemas.checkSchema(configSchema, "configSchema", null);
      const right = { acmeApiKey: "k", acmeUrl: "https://acme.test" };
      expect(await schemas.checkValue(configSchema, right, "configuration", null)).toEqual(right);
      const wrong = schemas.checkValue(configSchema, { acmeApiKey: "k", other: 1 }, "configuration", null);
      await expect(wrong).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
    } finally {
      await schemas.close();
    }
  });

  test("a tool's configuration keeps its schema and adds its variables and placeholders, never a value", () => {
    const launch = launchOf.stdio({
      args: ["-y", "x@1.0.0", "--city", "${config.city}"],
      env: [
        { name: "API_TOKEN", value: null, secret: true },
        { name: "LOG_LEVEL", value: "hunter2", secret: false },
        { name: "REGION", value: "${config.region}", secret: false },
      ],
    });
    const configSchema = { type: "object", properties: { region: { enum: ["eu", "us"] } }, required: ["region"] };
    const result = generateConfig(evidenceOf(toolOf({ launch, configSchema, placeholderVariables: ["REGION"] })));
    expect(result.configSchema).toMatchObject({
      properties: {
        region: { enum: ["eu", "us"] },
        city: { type: "string" },
        apiToken: { writeOnly: true },
        logLevel: { type: "string" },
      },
      required: ["region", "city", "apiToken"],
    });
    expect(result.launch).toMatchObject({
      env: [
        { name: "REGION", value: "${config.region}" },
        { name: "API_TOKEN", value: "${config.apiToken}", secret: false },
        { name: "LOG_LEVEL", value: "${config.logLevel}" },
      ],
    });
    expect(JSON.stringify(result)).not.toMatch("hunter2");
  });

  test("names are found and made as people write them", () => {
    expect(variableNamesOf("Set A_B, A_B and `C_D2`; not MCP, x/PATH_Y or FOO_BAR/baz")).toEqual(["A_B", "C_D2"]);
    expect(configKey("GITHUB_API_URL")).toBe("githubApiUrl");
  });
});
