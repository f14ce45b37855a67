import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { expect, test } from "vitest";
import { routeTo } from "../fixtures/proxy.ts";
import { createReplica } from "./replica.ts";

test("a replica's pool goes with its last connection, and the next call has another", async () => {
  const errors: unknown[] = [];
  const server = createServer((_, response) => response.end("here")).listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address is never a pipe's string.
  const { port } = server.address() as AddressInfo;
  const [target] = routeTo("weather", [`http://127.0.0.1:${port}`]).targets;
  if (!target) throw new Error("no target");
  const replica = createReplica({
    target,
    allowPrivateRemotes: true,
    onPoolError: (error) => errors.push(error),
    logger: createLogger({ level: "silent", name: "proxy" }),
    now: Date.now,
  });
  const call = async () => {
    const { body } = await replica.pool().request({ origin: "", path: "/", method: "GET" });
    return body.text();
  };

  const first = replica.pool();
  expect(await Promise.all(Array.from({ length: 8 }, call))).toEqual(Array.from({ length: 8 }, () => "here"));
  expect(replica.pool()).toBe(first);
  server.closeIdleConnections();
  await eventually("another pool", async () => (replica.pool() === first ? null : true));
  expect(await call()).toBe("here");

  await replica.destroy();
  expect(errors).toEqual([]);
  server.close();
});
