import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { createUserCaller, newId } from "@toolyard/service-kit";
import { afterEach, expect, test, vi } from "vitest";
import { clientFrame, upgradeRequest } from "./fixtures/client-frame.ts";
import { createSubscriptionProtocols } from "./protocols.ts";

/** More than pieces of work may take together in one turn of the event loop. */
const LONG_MS = 15;
const OPERATIONS = ["a", "b", "c", "d"];

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function refuse(): never {
  throw new Error("nothing is executed");
}

/** Protocols over operations that take LONG_MS each to be looked at. Tells in which turn of the event loop each was. */
async function serve() {
  const turns = new Map<string, number>();
  let turn = 0;
  let isCounting = true;
  // As far as the clock tells, which moves by this only.
  let workedMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => workedMs);
  cleanups.push(() => clock.mockRestore());
  const count = () => {
    turn += 1;
    if (isCounting) setImmediate(count);
  };
  const protocols = createSubscriptionProtocols({
    executor: {
      inspect({ query }) {
        turns.set(query.trim(), turn);
        workedMs += LONG_MS;
        return { errors: [] };
      },
      execute: refuse,
      subscribe: refuse,
    },
    engine: {
      activeStreams: 0,
      droppedEvents: 0,
      subscribe: refuse,
    },
    authenticate: async () => createUserCaller("u1", "VIEWER"),
    identify: async () => createUserCaller("u1", "VIEWER"),
    contextOf: (caller) => ({ caller, requestId: newId() }),
    log: { error: () => undefined, debug: () => undefined },
  });
  const server = createServer();
  server.on("upgrade", (request, socket, head) => protocols.handleUpgrade(request, socket, head));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(async () => {
    isCounting = false;
    await protocols.close(0);
    server.close();
  });
  count();
  const { port } = server.address() as AddressInfo; // as of any server on TCP
  return { port, turns };
}

test.each([
  ["graphql-transport-ws", "subscribe"],
  ["graphql-ws", "start"],
])("operations that come at once by %s take turns of the event loop, in their order", async (protocol, type) => {
  const { port, turns } = await serve();
  const socket = connect(port, "127.0.0.1");
  cleanups.push(() => socket.destroy());
  socket.write(upgradeRequest(protocol));
  await once(socket, "data");
  const pad = " ".repeat(126);
  const init = clientFrame(JSON.stringify({ type: "connection_init", payload: { pad } }));
  const starts = OPERATIONS.map((name) =>
    clientFrame(JSON.stringify({ id: name, type, payload: { query: name + pad } })),
  );
  // By one, operations wait for the caller to be known; by the other, the client does.
  if (protocol === "graphql-ws") socket.write(Buffer.concat([init, ...starts]));
  else {
    socket.write(init);
    await once(socket, "data");
    socket.write(Buffer.concat(starts));
  }
  await expect.poll(() => [...turns.keys()]).toEqual(OPERATIONS);
  expect(new Set(turns.values()).size).toBe(OPERATIONS.length);
});
