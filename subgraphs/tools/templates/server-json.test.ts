import { ToolyardError, type Problem } from "@toolyard/service-kit";
import { missingKeys, placeholderKeys, substitute } from "@toolyard/launch/placeholders.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { templateOfServer } from "./server-json.ts";
import { templateIdOf } from "./template-imports.ts";
import { isTemplateId } from "./template.ts";

const SERVER = {
  $schema: "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
  name: "io.github.example/weather",
  title: "Weather",
  description: "Forecasts",
  version: "1.2.0",
  repository: { url: "https://github.com/example/weather", source: "github" },
};
const NPM = {
  registryType: "npm",
  identifier: "@example/weather",
  version: "1.2.0",
  transport: { type: "stdio" },
};
const withPackage = (more: object) => ({ ...SERVER, packages: [{ ...NPM, ...more }] });

function problemsOf(json: unknown): string[] {
  try {
    templateOfServer(json);
    return [];
  } catch (error) {
    if (!(error instanceof ToolyardError)) throw error;
    expect(error.code).toBe("BAD_USER_INPUT");
    return (error.extensions.problems as Problem[]).map(({ path, message }) => `${path}: ${message}`);
  }
}

describe("a server of the registry", () => {
  test("on npm becomes a launch by npx, configured by what its package asks for", () => {
    const { launch, configSchema, ...rest } = templateOfServer(
      withPackage({
        runtimeHint: "npx",
        runtimeArguments: [{ type: "positional", value: "--no-audit" }],
        packageArguments: [
          { type: "positional", value: "serve" },
          { type: "positional", valueHint: "data folder", format: "filepath", isRequired: true },
          { type: "named", name: "--days", format: "number", default: "3", description: "How many." },
          { type: "named", name: "--verbose", format: "boolean" },
          {
            type: "named",
            name: "--at",
            value: "{host}:{port}/{other}",
            variables: { host: { isRequired: true }, port: { value: "80" } },
          },
        ],
        environmentVariables: [
          { name: "WEATHER_KEY", isRequired: true, isSecret: true, placeholder: "wk-…" },
          { name: "AUTH", value: "Bearer {token}", variables: { token: { isSecret: true } } },
          { name: "UNITS", choices: ["metric", "imperial"], default: "metric" },
        ],
      }),
    );
    expect(rest).toEqual({
      serverName: SERVER.name,
      name: "Weather",
      description: "Forecasts",
      version: "1.2.0",
      repository: "https://github.com/example/weather",
    });
    expect(launch).toMatchObject({
      kind: "stdio",
      command: "npx",
      args: [
        "-y",
        "--no-audit",
        "@example/weather@1.2.0",
        "serve",
        "${config.data_folder}",
        "--days=${config.days}",
        "--verbose=${config.verbose}",
        "--at=${config.host}:80/{other}",
      ],
      env: [
        { name: "WEATHER_KEY", value: "${config.WEATHER_KEY}", secret: false },
        { name: "AUTH", value: "Bearer ${config.token}", secret: false },
        { name: "UNITS", value: "${config.UNITS}", secret: false },
      ],
    });
    expect(configSchema).toEqual({
      type: "object",
      properties: {
        data_folder: { type: "string", minLength: 1 },
        days: { type: "number", default: 3, description: "How many." },
        verbose: { type: "boolean" },
        host: { type: "string", minLength: 1 },
        WEATHER_KEY: { type: "string", writeOnly: true, examples: ["wk-…"], minLength: 1 },
        token: { type: "string", writeOnly: true },
        UNITS: { type: "string", enum: ["metric", "imperial"], default: "metric" },
      },
      required: ["data_folder", "host", "WEATHER_KEY"],
      additionalProperties: false,
    });
  });

  test("on PyPI is run by uvx, elsewhere called, and as an image started", () => {
    const pypi = { registryType: "pypi", identifier: "mcp-server-time", version: "1.0", transport: { type: "stdio" } };
    // After one that Toolyard cannot run.
    const mcpb = { ...NPM, registryType: "mcpb", identifier: "https://example.com/x.mcpb" };
    const serving = { ...NPM, transport: { type: "streamable-http", url: "http://localhost:1/mcp" } };
    expect(templateOfServer({ ...SERVER, packages: [mcpb, serving, pypi] }).launch).toMatchObject({
      command: "uvx",
      args: ["mcp-server-time@1.0"],
    });
    const headers = [
      {
        name: "Authorization",
        value: "Bearer {key}",
        isRequired: true,
        variables: { key: { isSecret: true, isRequired: true } },
      },
    ];
    const remotes = [
      { type: "sse", url: "https://example.com/sse" },
      { type: "streamable-http", url: "https://example.com/mcp?v=1", headers },
    ];
    const far = templateOfServer({ ...SERVER, packages: [mcpb], remotes });
    expect(far.launch).toMatchObject({
      kind: "remote",
      url: "https://example.com/mcp?v=1",
      headers: [{ name: "Authorization", value: "Bearer ${config.key}" }],
    });
    expect(far.configSchema).toMatchObject({ properties: { key: { writeOnly: true } }, required: ["key"] });
    const transport = { type: "streamable-http", url: "http://localhost:8080/rpc" };
    const oci = {
      registryType: "oci",
      registryBaseUrl: "https://ghcr.io",
      identifier: "example/weather",
      version: "1.2.0",
      transport,
    };
    expect(templateOfServer({ ...SERVER, packages: [oci] }).launch).toMatchObject({
      kind: "image",
      image: "ghcr.io/example/weather:1.2.0",
      port: 8080,
      path: "/rpc",
    });
  });

  test("that asks for two things under one name gets two properties, and one for the same thing twice", () => {
    const { configSchema } = templateOfServer(
      withPackage({
        packageArguments: [{ type: "named", name: "--key", description: "Of a map" }],
        environmentVariables: [
          { name: "key", isSecret: true },
          { name: "KEY2", value: "{key}", variables: { key: { isSecret: true } } },
        ],
      }),
    );
    expect(Object.keys(configSchema["properties"] as object)).toEqual(["key", "key_2"]);
  });

  test.each<[string, unknown, string]>([
    ["is no object", 1, "json: must be an object"],
    ["has no name of the registry", { ...SERVER, name: "weather" }, "json.name: must be a namespace and a name"],
    ["has nothing that runs", SERVER, "json: must have a package on npm or PyPI, a remote or an image"],
    [
      "names its other registries",
      withPackage({ registryType: "nuget" }),
      "json: must have a package on npm or PyPI, a remote or an image: it has nuget",
    ],
    [
      "has a package that is an option",
      withPackage({ identifier: "--eval=x" }),
      "json.packages.0.identifier: must be the name of a package of npm",
    ],
    [
      "has a package that is an address",
      withPackage({ identifier: "git+https://example.com/x" }),
      "json.packages.0.identifier",
    ],
    ["has a range of versions", withPackage({ version: "^1.2.0" }), "json.packages.0.version: must be one version"],
    ["has the latest version", withPackage({ version: "latest" }), "json.packages.0.version: must be one version"],
    [
      "comes from another registry",
      withPackage({ registryBaseUrl: "https://npm.example.com" }),
      "json.packages.0.registryBaseUrl",
    ],
    ["has a digest that nobody verifies", withPackage({ fileSha256: "a".repeat(64) }), "json.packages.0.fileSha256"],
    [
      "serves HTTP at a port of its own",
      withPackage({ transport: { type: "sse", url: "http://localhost:1/sse" } }),
      "json.packages.0.transport",
    ],
    [
      "is run by another program",
      withPackage({ runtimeHint: "bunx", runtimeArguments: [{ type: "positional", value: "-x" }] }),
      "json.packages.0.runtimeHint",
    ],
    [
      "has a secret argument",
      withPackage({ packageArguments: [{ type: "named", name: "--key", isSecret: true }] }),
      "json.packages.0.packageArguments.0: holds ${config.key}",
    ],
    [
      "tells a secret",
      withPackage({ environmentVariables: [{ name: "KEY", value: "s3cret", isSecret: true }] }),
      "json.packages.0.environmentVariables.0.value: must be left out",
    ],
    [
      "tells a secret as its default",
      withPackage({ environmentVariables: [{ name: "KEY", default: "s3cret", isSecret: true }] }),
      "json.packages.0.environmentVariables.0.default: must be left out",
    ],
    [
      "has a default that is no number",
      withPackage({ environmentVariables: [{ name: "DAYS", default: "many", format: "number" }] }),
      "json.packages.0.environmentVariables.0.default: must be a number",
    ],
    [
      "sets a variable of Toolyard's",
      withPackage({ environmentVariables: [{ name: "TOOLYARD_X", value: "1" }] }),
      "json → template.launch.stdio.env.0.name: must not begin",
    ],
    [
      "has variables in its address",
      { ...SERVER, remotes: [{ type: "sse", url: "https://{tenant}.example.com" }] },
      "json.remotes.0.url: must have no variables",
    ],
    [
      "is a file",
      { ...SERVER, remotes: [{ type: "sse", url: "file:///etc/passwd" }] },
      "json → template.launch.remote.url",
    ],
    ["is too large", { ...SERVER, description: "x".repeat(200_000) }, "json: is too large"],
  ])("that %s is refused", (_what, json, problem) => {
    const problems = problemsOf(json);
    expect(problems).toEqual(expect.arrayContaining([expect.stringContaining(problem)]));
    expect(problems.join()).not.toContain("s3cret");
  });

  const text = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.constantFrom("{a}", "$", "${config.a}", "${config.", "{", "}", "$${config.x}{b}"),
  );
  const anInput = fc.record(
    {
      value: fc.array(text, { maxLength: 4 }).map((parts) => parts.join("")),
      default: fc.constantFrom("1", "true", "x"),
      isRequired: fc.boolean(),
      isSecret: fc.boolean(),
      format: fc.constantFrom("string", "number", "boolean", "filepath"),
      choices: fc.array(fc.string({ maxLength: 5 }), { maxLength: 3 }),
      variables: fc.dictionary(
        fc.constantFrom("a", "b", "constructor"),
        fc.record({ isSecret: fc.boolean(), value: text }, { requiredKeys: [] }),
      ),
    },
    { requiredKeys: [] },
  );
  const asked = fc.record({
    environmentVariables: fc.uniqueArray(
      fc.tuple(fc.constantFrom("A", "B", "key", "KEY_2"), anInput).map(([name, one]) => ({ name, ...one })),
      { selector: ({ name }) => name, maxLength: 4 },
    ),
    packageArguments: fc.array(
      fc
        .tuple(fc.constantFrom("--a", "key", "${config.a}"), anInput)
        .map(([name, one]) => ({ type: "named", name, ...one })),
      { maxLength: 3 },
    ),
  });

  test("keeps a dollar before a variable", () => {
    const variables = { a: {} };
    const { launch } = templateOfServer(
      withPackage({ environmentVariables: [{ name: "A", value: "$${a}", variables }] }),
    );
    const [one] = launch.kind === "stdio" ? launch.env : [];
    expect(substitute(one?.value ?? "", { a: "x" })).toBe("$$x");
  });

  test("that is taken has a property for each placeholder, and secrets only where they are sealed", () => {
    let taken = 0;
    fc.assert(
      fc.property(asked, (more) => {
        let made: ReturnType<typeof templateOfServer>;
        try {
          made = templateOfServer(withPackage(more));
        } catch (error) {
          if (error instanceof ToolyardError && error.code === "BAD_USER_INPUT") return;
          throw error;
        }
        taken += 1;
        if (made.launch.kind !== "stdio") throw new Error("It is no launch by npx.");
        const { args, env } = made.launch;
        const properties = made.configSchema["properties"] as Record<string, { writeOnly?: boolean }>;
        const keys = [...args, ...env.map(({ value }) => value)].flatMap(placeholderKeys);
        expect(Object.keys(properties).toSorted()).toEqual([...new Set(keys)].toSorted());
        for (const key of args.flatMap(placeholderKeys)) expect(properties[key]?.writeOnly).toBeUndefined();
        // A value without variables reaches the server as it is written.
        for (const { name, value, variables } of more.environmentVariables) {
          if (value === undefined || Object.keys(variables ?? {}).length > 0) continue;
          const text = env.find((one) => one.name === name)?.value ?? "";
          expect(missingKeys(text, null)).toEqual([]);
          expect(substitute(text, null)).toBe(value);
        }
      }),
      { numRuns: 1_000 },
    );
    expect(taken).toBeGreaterThan(100);
  });

  test("has an id that a template may have, always the same, its own", () => {
    const name = fc.tuple(fc.stringMatching(/^[a-zA-Z0-9.-]{1,60}$/), fc.stringMatching(/^[a-zA-Z0-9._-]{1,60}$/));
    fc.assert(
      fc.property(name, (parts) => {
        const id = templateIdOf(parts.join("/"));
        expect(isTemplateId(id), id).toBe(true);
        expect(templateIdOf(parts.join("/"))).toBe(id);
      }),
    );
    expect(templateIdOf("io.github.Example/weather_v2")).toBe("io.github.example-weather_v2");
    const long = (end: string) => templateIdOf(`${"a".repeat(60)}/${"b".repeat(60)}${end}`);
    expect(long("1")).not.toBe(long("2"));
  });
});
