import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { anonymous, createUserCaller, type Caller } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createBodyBudget } from "./body-budget.ts";

const KIB = 1_024;
const budget = createBodyBudget(1_024 * KIB);

function begin(caller: Caller | null, length: number | null, isGone = false) {
  const request = new IncomingMessage(new Socket());
  if (length !== null) request.headers["content-length"] = String(length);
  const response = new ServerResponse(request);
  if (isGone) response.destroy();
  const take = budget.take(request, response, caller, 256 * KIB);
  return { take, end: () => response.emit("close") };
}

test.each([
  ["a caller without a credential", anonymous],
  ["nobody yet", null],
])("small bodies of %s are counted as they come, until they are answered", (_who, caller) => {
  // Said to be long, or in parts: nothing is held of them yet.
  const begun = Array.from({ length: 129 }, (_, at) => begin(caller, at % 2 === 0 ? null : 256 * KIB));
  for (const { take } of begun.slice(0, 128)) for (const part of [1, 255]) take(part * KIB);
  const [first, last] = [begun[0], begun[128]];
  expect(() => last?.take(1)).toThrow(expect.objectContaining({ code: "CAPACITY_EXHAUSTED" }));
  expect(() => begin(createUserCaller("ada", "VIEWER"), 256 * KIB).take(256 * KIB)).not.toThrow();
  first?.end();
  last?.take(256 * KIB);
  for (const { end } of begun.slice(1)) end();
  const again = Array.from({ length: 128 }, () => begin(caller, null));
  for (const { take } of again) take(256 * KIB);
  for (const { end } of again) end();
});

test("the body of a client that has gone takes no room, which nothing would give back", () => {
  for (let at = 0; at < 20; at++) begin(null, 1_024 * KIB, true);
  const { take, end } = begin(null, 1_024 * KIB);
  expect(() => take(256 * KIB)).not.toThrow();
  end();
});
