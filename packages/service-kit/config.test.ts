import { expect, test } from "vitest";
import { flag, integer, list, parseEnvironment, port, secretKey } from "./config.ts";

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
