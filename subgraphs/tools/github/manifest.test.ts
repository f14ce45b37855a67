import { ToolyardError } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { parseManifest } from "./manifest.ts";

function refusalOf(text: string): string {
  try {
    parseManifest(text);
  } catch (error) {
    if (error instanceof ToolyardError && error.code === "BAD_USER_INPUT") return error.message;
    throw error;
  }
  throw new Error("It was accepted.");
}

test("every field may be left out, and a file of nothing is one", () => {
  expect(parseManifest("# nothing yet")).toEqual({ knowledge: [] });
});

test("a path of knowledge without wildcards is a file or a folder", () => {
  expect(parseManifest("knowledge: [docs, notes/, '*.md']").knowledge).toEqual([
    "docs",
    "docs/**",
    "notes",
    "notes/**",
    "*.md",
  ]);
});

test.each([
  ["an unknown key", "nmae: Weather", '"nmae"'],
  ["a prototype's key", "__proto__: { polluted: 1 }", "__proto__"],
  ["a constructor's", "constructor: { prototype: { polluted: 1 } }", '"constructor"'],
  ["a launch by a prototype", "launch: { __proto__: { stdio: { command: node } } }", "exactly one of stdio"],
  ["a path that leaves the folder", "knowledge: [../secrets]", "knowledge.0"],
  ["an absolute path", "knowledge: [/etc/passwd]", "knowledge.0"],
  ["what is no YAML", "name: [", "is not YAML"],
  ["aliases that make much of little", `a: &a [x]\nb: [${"*a, ".repeat(100)}]`, "is not YAML"],
  ["a key that comes twice", "name: A\ndescription: x\nname: B", "unique, in line 3"],
  ["what is nested deeply", `name: ${"[".repeat(60_000)}`, "is nested too deeply"],
  ["markers without end", "- ".repeat(30_000), "is nested too deeply"],
  ["an alias of itself", "name: &a [*a]", "name"],
  ["what is too long", `name: ${"x".repeat(70_000)}`, "must have at most 65536 characters"],
  ["another kind of value", "- name", "must be an object"],
  ["a launch that is none", "launch: { stdio: {} }", "launch.stdio.command"],
])("%s is refused, with the place", (_name, text, place) => {
  expect(refusalOf(text)).toContain(place);
});

test("a prototype's key below gives no field a value", () => {
  const plain = parseManifest("launch: { stdio: { command: node } }");
  expect(parseManifest("launch: { stdio: { command: node, __proto__: { args: [x] } } }")).toEqual(plain);
});

test("thousands of unknown keys are refused in a message that can be read", () => {
  const keys = Array.from({ length: 8_000 }, (_, index) => `k${index}: 1`);
  expect(refusalOf(keys.join("\n")).length).toBeLessThan(600);
});

test("the value of a secret is refused, and is not in the message", () => {
  const env = "env: [{ name: TOKEN, value: hunter2-of-the-tests, secret: true }]";
  const refusal = refusalOf(`launch: { stdio: { command: node, ${env} } }`);
  expect(refusal).toContain("TOKEN");
  expect(refusal).not.toContain("hunter2");
  parseManifest("launch: { stdio: { command: node, env: [{ name: TOKEN, secret: true }] } }");
});

test("a broken file with a secret in it is refused without its words", () => {
  expect(refusalOf("launch:\n  token: hunter2-of-the-tests: x")).not.toContain("hunter2");
});
