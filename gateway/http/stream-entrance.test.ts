import type { IncomingMessage } from "node:http";
import { anonymous, createUserCaller } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { parseGatewayConfig } from "../config.ts";
import { createStreamEntrance } from "./stream-entrance.ts";

const config = parseGatewayConfig({}, { isAlone: true });
const MOST = 10_000;

test("there is room for so many streams of all callers together, and for another one once one has ended", () => {
  const { enter } = createStreamEntrance({ authenticate: async () => anonymous, config });
  const leave = Array.from({ length: MOST }, (_, n) =>
    enter({ caller: createUserCaller(`u${n}`, "VIEWER"), requestId: "r" }),
  );
  const another = () => enter({ caller: createUserCaller("another", "VIEWER"), requestId: "r" });
  expect(another).toThrow(expect.objectContaining({ code: "CAPACITY_EXHAUSTED" }));
  leave[0]?.();
  another();
  expect(another).toThrow("Too many streams are open");
});

test("a caller who has too many takes no room from others", () => {
  const { enter } = createStreamEntrance({ authenticate: async () => anonymous, config });
  const greedy = { caller: createUserCaller("greedy", "VIEWER"), requestId: "r" };
  let streams = 0;
  const open = () => {
    enter(greedy);
    streams++;
  };
  for (let n = 0; n < MOST; n++)
    try {
      open();
    } catch (error) {
      expect(error).toMatchObject({ code: "RATE_LIMITED" });
    }
  expect(streams).toBe(config.protection.caller?.maxConcurrentSubscriptions);
  for (let n = streams; n < MOST; n++) enter({ caller: createUserCaller(`u${n}`, "VIEWER"), requestId: "r" });
});

test("a credential comes in a header, or as a ticket in the address, and is asked about once", async () => {
  const asked: unknown[] = [];
  const { authenticate } = createStreamEntrance({
    async authenticate(request, given) {
      asked.push(given?.["authorization"] ?? request.headers.authorization);
      return (given?.["authorization"] ?? request.headers.authorization) ? createUserCaller("u", "VIEWER") : anonymous;
    },
    config,
  });
  // Nothing else of a request is looked at.
  const request = (url: string, headers = {}) => ({ url, headers }) as IncomingMessage;
  await authenticate(request("/events?after=0&ticket=tyt_a"));
  // The header counts: a ticket beside it is not used up.
  await authenticate(request("/events?ticket=tyt_a", { authorization: "Bearer key" }));
  expect(asked).toEqual(["Bearer tyt_a", "Bearer key"]);
  for (const url of ["/events?ticket=ty_a", "/events?ticket=", "/events?ticket=a.b.c", "/events"])
    await expect(authenticate(request(url))).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(asked.length).toBe(3);
});
