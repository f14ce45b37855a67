import { expect, test } from "vitest";
import { createUserCaller } from "@toolyard/service-kit";
import { createCallerHeaders } from "./caller-headers.ts";

const contextOf = (id: string, clientAddress = "192.0.2.1") => ({
  caller: createUserCaller(id, "VIEWER"),
  requestId: "r",
  clientAddress,
});

test("a caller is signed once in a while, and every caller for itself", async () => {
  let now = 0;
  let signed = 0;
  const headersFor = createCallerHeaders({
    name: "x-caller",
    keepMs: 1_000,
    now: () => now,
    sign: async ({ subject }) => `${String(subject)} ${++signed}`,
  });
  expect(await headersFor(contextOf("ann"))).toEqual({ "x-caller": "ann 1" });
  expect(await headersFor(contextOf("ann"))).toEqual({ "x-caller": "ann 1" });
  expect(await headersFor(contextOf("bob"))).toEqual({ "x-caller": "bob 2" });
  expect(await headersFor(contextOf("ann", "192.0.2.2"))).toEqual({ "x-caller": "ann 3" });
  expect(await headersFor(contextOf("ann"), true)).toEqual({ "x-caller": "ann 4" });
  now = 1_000;
  expect(await headersFor(contextOf("ann"))).toEqual({ "x-caller": "ann 5" });
});

test("what could not be signed is signed anew", async () => {
  let attempts = 0;
  const headersFor = createCallerHeaders({
    name: "x-caller",
    sign: async () => {
      if (++attempts === 1) throw new Error("no key");
      return "signed";
    },
  });
  await expect(headersFor(contextOf("ann"))).rejects.toThrow("no key");
  expect(await headersFor(contextOf("ann"))).toEqual({ "x-caller": "signed" });
});
