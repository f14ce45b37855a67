import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from "graphql-ws";
import { standstill } from "@toolyard/testing/turns.ts";
import { afterEach, expect, test } from "vitest";
import { createChangeLog } from "./fixtures/change-log.ts";
import { clientFrame, upgradeRequest } from "./fixtures/client-frame.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

let server: ContractServer | null = null;
let socket: Socket | null = null;
afterEach(async () => {
  socket?.destroy();
  await server?.close();
});

test("who sends and never reads is not read either, and answered when it reads", async () => {
  server = await startContractServer({ composed: composeContractShop(), changes: createChangeLog().changes });
  socket = connect(server.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(upgradeRequest(GRAPHQL_TRANSPORT_WS_PROTOCOL));
  await once(socket, "data");
  socket.pause();
  const ping = clientFrame(JSON.stringify({ type: "ping", payload: { text: "x".repeat(1_000) } }));
  const pings = 20_000;
  socket.setNoDelay(true);
  let isSent = false;
  const sent = new Promise<void>((resolve) => {
    // In parts, so that it is seen how much the server has taken.
    for (let i = 0; i < pings; i++) {
      socket?.write(ping, () => {
        isSent = i === pings - 1;
        if (isSent) resolve();
      });
    }
  });
  const { writableLength: atFirst } = socket;
  await expect.poll(() => socket?.writableLength).toBeLessThan(atFirst);
  await standstill(() => socket?.writableLength);
  expect(isSent, "the server read 20 MB, whose answers nobody takes").toBe(false);

  let received = 0;
  socket.on("data", (chunk: Buffer) => (received += chunk.length));
  socket.resume();
  await sent;
  await expect.poll(() => received).toBeGreaterThan(pings * 1_000);
});
