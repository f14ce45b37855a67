import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createChangeLog, type ChangeLog } from "./fixtures/change-log.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

const composed = composeContractShop();
let log: ChangeLog;
let server: ContractServer;

beforeEach(async () => {
  log = createChangeLog();
  server = await startContractServer({ composed, changes: log.changes });
});
afterEach(() => server.close());

const ask = (query: string, accept: string, authorization = "Bearer user:u1") =>
  fetch(`${server.origin}/graphql`, {
    method: "POST",
    headers: { authorization, accept, "content-type": "application/json" },
    body: JSON.stringify({ query }),
  });
const ACCEPT = "multipart/mixed;subscriptionSpec=1.0, application/json";
const WATCH = `subscription { productChanged(after: "0") { sequence } }`;

test("each part ends with the separator that its reader waits for", async () => {
  log.append();
  log.finish();
  const response = await ask(WATCH, ACCEPT);
  expect(response.headers.get("content-type")).toBe('multipart/mixed;boundary="graphql";subscriptionSpec=1.0');
  expect((await response.text()).split("\r\n")).toEqual([
    "",
    "--graphql",
    "content-type: application/json",
    "",
    "{}",
    "--graphql",
    "content-type: application/json",
    "",
    '{"payload":{"data":{"productChanged":{"sequence":"1"}}}}',
    "--graphql--",
    "",
  ]);
});

test("what breaks the stream is an error of the transport", async () => {
  const response = await ask(WATCH, ACCEPT, "Bearer expiring:300");
  const parts = (await response.text()).split("\r\n\r\n");
  expect(parts.at(-1)).toBe(
    '{"payload":null,"errors":[{"message":"The credential expired: connect again with a new one","extensions":{"code":"UNAUTHENTICATED"}}]}\r\n--graphql--\r\n',
  );
});

test.each([
  'multipart/mixed; boundary="graphql"; subscriptionSpec="1.0", application/json;q=0.9',
  "multipart/mixed;subscriptionSpec=1.0",
])("%s asks for it", async (accept) => {
  log.append();
  log.finish();
  expect((await ask(WATCH, accept)).headers.get("content-type")).toMatch(/^multipart\/mixed/);
});

test("queries, and what asks for another kind of multipart, are for the ordinary handler", async () => {
  const query = await ask("{ me { name } }", ACCEPT);
  expect(query.headers.get("content-type")).toBe("application/json");
  expect(await query.json()).toEqual({ data: { me: { name: "Ada" } } });
  expect((await ask(WATCH, "multipart/mixed;deferSpec=20220824, application/json")).status).toBe(400);
});

describe("who accepts JSON first and streams last, as urql does", () => {
  const URQL =
    "application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed";

  test.each([URQL, "application/json, text/event-stream;q=0.9", "*/*, text/event-stream"])(
    "gets JSON for all that is one result, and a stream for a subscription: %s",
    async (accept) => {
      const query = await ask("{ me { name } }", accept);
      expect(query.headers.get("content-type")).toMatch(/^application\/.*json/);
      expect(await query.json()).toEqual({ data: { me: { name: "Ada" } } });
      for (const wrong of ["{", "{ nothing }", "subscription { nothing }"])
        expect((await ask(wrong, accept)).headers.get("content-type")).toMatch(/^application\/.*json/);
      log.append();
      log.finish();
      const watched = await ask(WATCH, accept);
      expect(watched.headers.get("content-type")).toMatch(/^text\/event-stream/);
      expect(await watched.text()).toContain('"sequence":"1"');
    },
  );

  test("gets its one result as an event where it wants events more", async () => {
    const query = await ask("{ me { name } }", "text/event-stream, application/json");
    expect(query.headers.get("content-type")).toMatch(/^text\/event-stream/);
    expect(await query.text()).toContain('"name":"Ada"');
  });
});
