import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from "graphql-ws";
import { afterEach, expect, test } from "vitest";
import { SOCKET_BOUNDS } from "@toolyard/service-kit/http/socket-bounds.ts";
import { createChangeLog } from "./fixtures/change-log.ts";
import { clientFrame, upgradeRequest } from "./fixtures/client-frame.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

const POLICY_VIOLATION = 1008;

let server: ContractServer | null = null;
let socket: Socket | null = null;
afterEach(async () => {
  socket?.destroy();
  await server?.close();
});

test("a message that comes byte by byte, which takes hundreds of bytes for each, is not waited for", async () => {
  server = await startContractServer({ composed: composeContractShop(), changes: createChangeLog().changes });
  socket = connect(server.port, "127.0.0.1");
  socket.setNoDelay(true).write(upgradeRequest(GRAPHQL_TRANSPORT_WS_PROTOCOL));
  await once(socket, "data");
  const frame = clientFrame("x".repeat(60_000));
  const answer: Buffer[] = [];
  socket.on("data", (bytes: Buffer) => answer.push(bytes));
  let sent = 0;
  // The server reads what each turn sent, or now and then what two did.
  for (; answer.length === 0 && sent < frame.length - 1; sent++) {
    socket.write(frame.subarray(sent, sent + 1));
    await new Promise(setImmediate);
  }
  expect(sent).toBeLessThan(6 * SOCKET_BOUNDS.maxBufferedChunks);
  const [closing] = answer;
  expect([closing?.readUInt8(0), closing?.readUInt16BE(2)]).toEqual([0x88, POLICY_VIOLATION]);
});
