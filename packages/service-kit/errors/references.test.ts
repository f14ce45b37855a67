import { expect, test } from "vitest";
import { createUserCaller } from "../identity/caller.ts";
import { notFound } from "./errors.ts";
import { closeTo, createToolLookup, isId, MAX_CANDIDATES } from "./references.ts";

const NAMES = ["greeter", "noisy", "Ada.L", "weather-in-bern", "db"];
const close = (text: string, names: readonly string[] = NAMES) => closeTo(text, async () => names);

test.each([
  ["greter", ["greeter"]],
  ["Greeter", ["greeter"]],
  ["greet", ["greeter"]],
  ["nosiy", ["noisy"]],
  ["ada.l", ["Ada.L"]],
  ["wheather-in-bern", ["weather-in-bern"]],
  ["bd", ["db"]],
  ["something-else", []],
  ["noise-maker", []],
  ["", []],
  ["x".repeat(1_000_000), []],
  ["0198c0de-0000-7000-8000-000000000000", []],
])("what is close to %.40s", async (text, names) => {
  expect(await close(text)).toEqual(names);
});

test("the closest come first, three at most, of the newest only", async () => {
  expect(await close("tool-1", ["tool-22", "tool-2", "tool-3", "tool-1a", "tool-4"])).toHaveLength(3);
  expect((await close("greeters", ["greetings", "greeter"]))[0]).toBe("greeter");
  const many = Array.from({ length: MAX_CANDIDATES }, (_, index) => `zzzzzzzzzz-${index}`);
  expect(await close("greter", [...many, "greeter"])).toEqual([]);
});

test("an unknown name is named in a sentence that does not grow with it", () => {
  expect(notFound("tool", "greter", ["greeter", "greener"]).message).toBe(
    'There is no tool "greter". Did you mean "greeter" or "greener"?',
  );
  expect(notFound("tool", "x".repeat(100_000)).message.length).toBeLessThan(200);
});

test("an id is not asked for; a slug is, as the caller, who must be known", async () => {
  const asked: unknown[] = [];
  const lookup = createToolLookup({
    graph: {
      query: async <Data>(request: { variables?: unknown; as: unknown }) => {
        asked.push(request.as);
        return { tool: { id: "the-id" } } as Data;
      },
      async *subscribe() {},
    },
  });
  const caller = createUserCaller("u1", "VIEWER");
  const id = "0198c0de-0000-7000-8000-000000000000";
  expect(isId(id)).toBe(true);
  expect(await lookup.idOf({ caller, requestId: "r" }, id)).toBe(id);
  expect(asked).toEqual([]);
  expect(await lookup.idOf({ caller, requestId: "r" }, "greeter")).toBe("the-id");
  expect(asked).toEqual([caller]);
  expect(await lookup.idOrNone({ caller, requestId: "r" }, null)).toBeUndefined();
  const invoker = createUserCaller("u1", "DEVELOPER", ["INVOKE"]);
  await expect(lookup.idOf({ caller: invoker, requestId: "r" }, "greeter")).rejects.toMatchObject({
    code: "FORBIDDEN",
  });
  expect(asked).toHaveLength(1);
});
