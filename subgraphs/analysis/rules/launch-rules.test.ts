import { describe, expect, test } from "vitest";
import { evidenceOf, launchOf, toolOf } from "../fixtures/evidence.ts";
import { DEFAULT_OPTIONS, type ShownLaunch } from "@toolyard/launch";
import { launchRisks } from "./launch-rules.ts";

const risksOf = (launch: ShownLaunch, changes: Parameters<typeof toolOf>[0] = {}) =>
  launchRisks(evidenceOf(toolOf({ launch, ...changes }))).map(
    ({ severity, title, location }) => `${severity} ${title} (${location})`,
  );
const variable = (name: string, value: string | null, secret = false) => ({ name, value, secret });

describe("risks of a launch", () => {
  test("a pinned package with limits and health has none", () => {
    expect(risksOf(launchOf.stdio())).toEqual([]);
  });

  test.each<[string, ShownLaunch, string]>([
    [
      "a package without a version",
      launchOf.stdio({ args: ["-y", "@acme/weather"] }),
      "MEDIUM The package floats (launch.args.1)",
    ],
    [
      "a shell",
      launchOf.stdio({ command: "/bin/sh", args: ["-c", "serve"] }),
      "HIGH A shell is the command (launch.command)",
    ],
    [
      "sudo",
      launchOf.stdio({ command: "sudo", args: ["serve"] }),
      "HIGH The server asks for more rights (launch.command)",
    ],
    [
      "docker as a process",
      launchOf.stdio({ command: "docker", args: ["run", "x"] }),
      "MEDIUM A container is started from a process (launch.command)",
    ],
    ["an image without a tag", launchOf.image("acme/server"), "MEDIUM The image floats (launch.image)"],
    ["an image's latest", launchOf.image("acme/server:latest"), "MEDIUM The image floats (launch.image)"],
    ["an image's tag", launchOf.image("acme/server:1.2"), "INFO The image's tag may move (launch.image)"],
    [
      "a remote server without encryption",
      launchOf.remote("http://mcp.example.com/mcp"),
      "HIGH The remote server is called without encryption (launch.url)",
    ],
    [
      "credentials in the address",
      launchOf.remote("https://me:pw@mcp.example.com/mcp"),
      "CRITICAL The address holds credentials (launch.url)",
    ],
    [
      "a query in the address",
      launchOf.remote("https://mcp.example.com/mcp?x=1"),
      "MEDIUM The address has a query (launch.url)",
    ],
    [
      "a token as an argument",
      launchOf.stdio({ args: ["-y", "x@1.0.0", `ghp_${"a".repeat(36)}`] }),
      "CRITICAL An argument seems to hold a secret (launch.args.2)",
    ],
    [
      "an option that takes a secret",
      launchOf.stdio({ args: ["-y", "x@1.0.0", "--api-key", "abc"] }),
      "CRITICAL An argument seems to hold a secret (launch.args.2)",
    ],
    [
      "shared sessions",
      launchOf.stdio({ sessions: "SHARED" }),
      "LOW Sessions share one server process (launch.sessions)",
    ],
    ["no limits", launchOf.stdio({ options: DEFAULT_OPTIONS }), "LOW No resource limits (launch.options.resources)"],
    [
      "no health",
      launchOf.stdio({ options: DEFAULT_OPTIONS }),
      "INFO Health is checked by MCP calls (launch.options.health)",
    ],
    [
      "a secret header in plain text",
      launchOf.remote("https://x.test/mcp", [variable("Authorization", "Bearer abc")]),
      "HIGH Authorization is not marked secret (launch.headers.Authorization)",
    ],
    [
      "a secret variable in plain text",
      launchOf.stdio({ env: [variable("GITHUB_TOKEN", "abc")] }),
      "HIGH GITHUB_TOKEN is not marked secret (launch.env.GITHUB_TOKEN)",
    ],
    [
      "one whose value cannot be seen",
      launchOf.stdio({ env: [variable("API_KEY", null)] }),
      "MEDIUM API_KEY is not marked secret (launch.env.API_KEY)",
    ],
  ])("%s is one", (_, launch, risk) => {
    expect(risksOf(launch)).toContain(risk);
  });

  test.each<[string, ShownLaunch]>([
    ["a digest", launchOf.image(`acme/server:latest@sha256:${"0".repeat(64)}`)],
    ["https", launchOf.remote("https://mcp.example.com/mcp")],
    ["a secret that is marked", launchOf.stdio({ env: [variable("GITHUB_TOKEN", null, true)] })],
    [
      "a variable that only sounds alike",
      launchOf.stdio({ env: [variable("KEYBOARD_LAYOUT", "de"), variable("MONKEY", "1")] }),
    ],
    [
      "an option that takes its secret from the configuration",
      launchOf.stdio({ args: ["-y", "x@1.0.0", "--token=${config.token}"] }),
    ],
  ])("%s is none", (name, launch) => {
    const configSchema = name.includes("configuration") ? { properties: { token: { writeOnly: true } } } : null;
    expect(risksOf(launch, { configSchema })).toEqual([]);
  });

  test("what whoever asked could see decides where the value is hidden", () => {
    const launch = launchOf.stdio({ env: [variable("API_KEY", null)] });
    expect(risksOf(launch, { plainVariables: ["API_KEY"] })).toEqual([
      "HIGH API_KEY is not marked secret (launch.env.API_KEY)",
    ]);
    expect(risksOf(launch, { placeholderVariables: ["API_KEY"] })).toEqual([]);
  });

  test("a configuration that is used but not declared, or secret but shown, is a risk", () => {
    const launch = launchOf.stdio({ args: ["-y", "x@1.0.0", "${config.city}"] });
    expect(risksOf(launch)).toEqual(["HIGH config.city is used but not declared (configSchema)"]);
    expect(risksOf(launch, { configSchema: { properties: { city: {} } } })).toEqual([]);
    expect(risksOf(launchOf.stdio(), { configSchema: { properties: { apiKey: { type: "string" } } } })).toEqual([
      "MEDIUM config.apiKey is not writeOnly (configSchema.properties.apiKey)",
    ]);
  });

  test("no finding repeats a value", () => {
    const launch = launchOf.stdio({ args: ["--token", "hunter2-arg"], env: [variable("DB_PASSWORD", "hunter2-env")] });
    expect(JSON.stringify(launchRisks(evidenceOf(toolOf({ launch }))))).not.toMatch("hunter2");
  });
});
