import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { eventually } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { startGateway, startShop, type Shop } from "./fixtures/shop.ts";

// `npm run bench subscriptions` does this at full size.

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => {
  await shop?.close();
});

const WATCH = "subscription { productSold { sequence } }";

test("callers of whom the subgraphs are told nothing share one stream, and each gets its events", async () => {
  const { privateKey, publicKey } = await generateKeyPair("EdDSA");
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "k1", alg: "EdDSA" }] };
  const issuer = createServer((_request, response) => response.end(JSON.stringify(jwks)));
  await new Promise<void>((resolve) => issuer.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  const { port } = issuer.address() as AddressInfo;
  const watchAs = async (url: string, sub: string, scope = "") => {
    const signer = new SignJWT({ sub, scope }).setProtectedHeader({ alg: "EdDSA", kid: "k1" }).setExpirationTime("5m");
    const client = createClient({
      url: `${url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionParams: { authorization: `Bearer ${await signer.sign(privateKey)}` },
    });
    return { next: client.iterate({ query: WATCH }).next(), dispose: () => client.dispose() };
  };
  try {
    for (const [env, streams] of [
      [{}, 2],
      [{ FORWARD_HEADERS: "x-tenant" }, 2],
    ] as const) {
      await using gateway = await startGateway(shop.supergraph(), {
        JWKS_URL: `http://127.0.0.1:${port}/`,
        METRICS_TOKEN: "a-token-for-scrapers",
        ...env,
      });
      const watchers = await Promise.all(
        ["ada", "bob", "cyd"].map((user, index) => watchAs(gateway.url, user, index === 2 ? "read:secrets" : "")),
      );
      await eventually("all subscribe", async () =>
        /^subscriptions_active 3$/m.test(
          await (
            await fetch(`${gateway.url}/metrics`, { headers: { authorization: "Bearer a-token-for-scrapers" } })
          ).text(),
        ),
      );
      // What the scopes allow is not the same for all.
      await eventually("the subgraph's streams", () => shop.subscribers() === streams);
      shop.publish();
      for (const { next } of watchers) expect((await next).value).toMatchObject({ data: { productSold: {} } });
      for (const { dispose } of watchers) await dispose();
      // They look whether they are wanted when there is something to send.
      await eventually("the streams' end", () => {
        shop.publish();
        return shop.subscribers() === 0;
      });
    }
  } finally {
    await new Promise((resolve) => issuer.close(resolve));
  }
});

test("to resume over server-sent events costs one operation of the caller's rate, as any other", async () => {
  // A quarter of a minute's may come at once.
  await using gateway = await startGateway(shop.supergraph(), { RATE_LIMIT_OPERATIONS_PER_MINUTE: "12" });
  shop.publish();
  const begin = async () => {
    const controller = new AbortController();
    const response = await fetch(`${gateway.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", "last-event-id": "0" },
      body: JSON.stringify({ query: WATCH }),
      signal: controller.signal,
    });
    let text = "";
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString();
      if (text.includes("event:")) break;
    }
    controller.abort();
    return text;
  };
  const answers = [await begin(), await begin(), await begin(), await begin()];
  expect(answers.map((text) => text.includes('"sequence":"1"'))).toEqual([true, true, true, false]);
  expect(answers.at(-1)).toContain("RATE_LIMITED");
});

test("a connection that never asked anything does not hold up the gateway's end", async () => {
  const gateway = await startGateway(shop.supergraph());
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  await once(socket, "connect");
  const closed = once(socket, "close");
  expect(await gateway.stop()).toBe(0);
  await closed;
  await gateway[Symbol.asyncDispose]();
});
