import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import {
  callbackDriver,
  multipartDriver,
  sseDistinctDriver,
  sseSingleDriver,
} from "@toolyard/gateway/subscriptions/fixtures/http-clients.ts";
import { legacyWsDriver, transportWsDriver } from "@toolyard/gateway/subscriptions/fixtures/socket-clients.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

let toolyard: RunningToolyard;
let token: string;

beforeAll(async () => {
  toolyard = await startToolyard({ env: { CALLBACK_HOSTS: "127.0.0.1" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

const CREATE = "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }";
const WATCH = `subscription { changed: toolChanged(after: "0") { sequence tool { slug author { username } } } }`;

describe.each([transportWsDriver, legacyWsDriver, sseDistinctDriver, sseSingleDriver, multipartDriver, callbackDriver])(
  "$name",
  (driver) => {
    test("streams what happens, completed from other subgraphs, to whoever may see it", async () => {
      const client = driver.connect(toolyard.url, `Bearer ${token}`);
      try {
        const stream = client.start(WATCH);
        const first = stream.next();
        const slug = `streamed-by-${driver.name.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
        await graphqlClient(toolyard.url, token).query(CREATE, {
          input: { name: slug, slug, description: "e2e", launch: { stdio: { command: "true" } } },
        });
        let result = await first;
        while (result !== null && JSON.stringify(result).includes(slug) === false) result = await stream.next();
        expect(result).toMatchObject({ data: { changed: { tool: { slug, author: { username: "admin" } } } } });
      } finally {
        await client.vanish();
      }
    });

    test("refuses a bad token", async () => {
      const client = driver.connect(toolyard.url, "Bearer nonsense");
      await expect(client.start(WATCH).next()).rejects.toMatchObject({ how: "refused" });
      await client.vanish();
    });
  },
);
