import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  flag,
  integer,
  list,
  misspeltVariables,
  parseEnvironment,
  parseTogether,
  port,
  prefixOf,
  publicAddresses,
  secretKey,
} from "./config.ts";

const shape = {
  PORT: port(4000),
  SAMPLE: flag(true),
  LIMIT: integer({ fallback: 5, min: 1, max: 9 }),
  NAMES: list(["a"], "a,b"),
  SECRET_KEY: secretKey.optional(),
};

test("what is left out or empty has its default", () => {
  expect(parseEnvironment(shape, { SAMPLE: "" })).toEqual({ PORT: 4000, SAMPLE: true, LIMIT: 5, NAMES: ["a"] });
});

test("values are parsed", () => {
  expect(parseEnvironment(shape, { PORT: "80", SAMPLE: "false", LIMIT: "9", NAMES: "x, y,," })).toMatchObject({
    PORT: 80,
    SAMPLE: false,
    LIMIT: 9,
    NAMES: ["x", "y"],
  });
});

test.each([
  ["PORT", "99999", /PORT: must be a port from 0 to 65535 \(it is "99999"\)\. Example: PORT=4000/],
  ["PORT", "1e3", /PORT/],
  ["SAMPLE", "yes", /SAMPLE: must be true or false \(it is "yes"\)\. Example: SAMPLE=true/],
  ["LIMIT", "0", /LIMIT: must be a whole number from 1 to 9/],
])("%s=%s stops with a message that names it, what is wrong and an example", (name, value, message) => {
  expect(() => parseEnvironment(shape, { [name]: value })).toThrow(message);
});

test("a wrong secret is named but never shown", () => {
  let message = "";
  try {
    parseEnvironment(shape, { SECRET_KEY: "hunter2" });
  } catch (error) {
    message = error instanceof Error ? error.message : "";
  }
  expect(message).toMatch(/SECRET_KEY: must have at least 32 characters/);
  expect(message).not.toContain("hunter2");
});

test("a secret may lie in a file, whose name is all that an error shows", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-files-"));
  try {
    const file = join(folder, "key");
    const env = { SECRET_KEY_FILE: file };
    await writeFile(file, `${"k".repeat(32)} \n`);
    expect(parseEnvironment(shape, env).SECRET_KEY).toBe(`${"k".repeat(32)} `);
    expect(() => parseEnvironment(shape, { ...env, SECRET_KEY: "x" })).toThrow("SECRET_KEY_FILE: SECRET_KEY is set");
    expect(parseEnvironment(shape, { ...env, SECRET_KEY: "" }).SECRET_KEY).toBeDefined();
    await writeFile(file, "hunter2");
    expect(() => parseEnvironment(shape, env)).toThrow(/^SECRET_KEY: must (?!.*hunter2)/);
    await writeFile(file, "\n");
    expect(() => parseEnvironment(shape, env)).toThrow(`SECRET_KEY_FILE: ${file} is empty`);
    const nowhere = { SECRET_KEY_FILE: join(folder, "none"), PORT: "many" };
    expect(() => parseEnvironment(shape, nowhere)).toThrow(/^SECRET_KEY_FILE: .*ENOENT.*\nPORT: /);
    // Only secrets.
    expect(parseEnvironment(shape, { PORT_FILE: file }).PORT).toBe(4000);
  } finally {
    await rm(folder, { recursive: true });
  }
});

describe("the address by which Toolyard is reached", () => {
  test.each([
    ["https://tools.example.com", "https://tools.example.com", ""],
    ["https://Tools.example.com:443/", "https://tools.example.com", ""],
    ["https://tools.example.com:8443/toolyard//", "https://tools.example.com:8443/toolyard", "/toolyard"],
    ["http://[::1]:8080/a/b-c/", "http://[::1]:8080/a/b-c", "/a/b-c"],
    ["https://example.com/mcp-servers", "https://example.com/mcp-servers", "/mcp-servers"],
  ])("%s is %s, below %j", (given, read, prefix) => {
    const { PUBLIC_URL } = parseEnvironment(publicAddresses, { PUBLIC_URL: given });
    expect(PUBLIC_URL).toBe(read);
    expect(prefixOf(PUBLIC_URL ?? null)).toBe(prefix);
  });

  test.each([
    ["tools.example.com", /must be an http or https URL/],
    ["/toolyard", /must be an http or https URL/],
    ["ws://tools.example.com", /must be an http or https URL/],
    ["https://tools.example.com/toolyard?a=b", /without user, password, query and fragment/],
    ["https://tools.example.com/#", /without user, password, query and fragment/],
    ["https://tools.example.com/graphql", /the address before Toolyard's own paths, without \/graphql/],
    ["https://tools.example.com/mcp/", /without \/mcp/],
    ["https://tools.example.com/health/x", /without \/health/],
    ["https://tools.example.com/a//b", /only letters, digits/],
    ["https://tools.example.com/a;b", /only letters, digits/],
    ["https://tools.example.com/a%2fb", /only letters, digits/],
  ])("%s is refused", (given, message) => {
    for (const name of ["PUBLIC_URL", "PROXY_URL"]) {
      const parse = () => parseEnvironment(publicAddresses, { [name]: given });
      expect(parse).toThrow(message);
      expect(parse).toThrow(new RegExp(`^${name}: .* Example: ${name}=https://`));
    }
  });

  test("a password in it is refused and not shown", () => {
    const parse = () => parseEnvironment(publicAddresses, { PUBLIC_URL: "https://ada:hunter2@tools.example.com" });
    expect(parse).toThrow(/PUBLIC_URL: must be an address without user, password/);
    expect(parse).not.toThrow(/hunter2/);
  });
});

test("what several parsers find wrong is said at once, the same only once", () => {
  const parse = (name: string) => () => parseEnvironment({ [name]: port(1) }, { [name]: "many" });
  const failing = () => parseTogether(parse("PORT"), parse("PROXY_PORT"), parse("PORT"), () => 7);
  expect(failing).toThrow(/^PORT: [^\n]+\nPROXY_PORT: [^\n]+$/);
  expect(
    parseTogether(
      () => 1,
      () => "two",
    ),
  ).toEqual([1, "two"]);
});

test("a variable that is read is none that is misspelt, and one that is not is told by its name", () => {
  const env = { SAMPLE_NAMES: "a", SAMPLE_NANE: "hunter2", OTHER_NAME: "" };
  parseEnvironment({ SAMPLE_NAMES: z.string(), SAMPLE_NAME: z.string().optional() }, env);
  expect(misspeltVariables(env)).toEqual(["SAMPLE_NANE is no variable of Toolyard; did you mean SAMPLE_NAME?"]);
  expect(misspeltVariables({ SAMPLE_NANE: "x" })).toEqual([]);
});
