import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { answerTo, ask, type RawRequest } from "./fixtures/raw-server.ts";
import { createStage, echo, names, outcomesOf, warm } from "./fixtures/stage.ts";

const stage = createStage();
const { serve, poolTo } = stage;
afterEach(stage.close);

describe("a server that closes an idle connection just as a request comes", () => {
  const closing = ({ id, socket, connection, earlier }: RawRequest) => {
    if (connection === 0 && earlier > 0) socket.destroy();
    else socket.write(answerTo(id));
  };

  test("is asked again on another", async () => {
    const server = await serve(closing);
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await outcomesOf(names("q", 3).map((id) => ask(pool, id)))).toEqual(["q0", "q1", "q2"]);
  });

  test("is not asked again for a mutation, which fails", async () => {
    const server = await serve(closing);
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await ask(pool, "m", "mutation").outcome).toMatch(
      /^(WireClosed: closed the connection|Error: read ECONNRESET)$/,
    );
    expect(server.seen.filter(({ id }) => id === "m")).toHaveLength(1);
  });

  test("is asked three times at the most", async () => {
    const server = await serve(({ id, socket, earlier }) => {
      if (earlier > 0) socket.destroy();
      else socket.write(answerTo(id));
    });
    const pool = poolTo(server.url);
    // Three connections that have answered.
    await outcomesOf(names("w", 3).map((id) => ask(pool, id)));
    expect(await ask(pool, "q").outcome).toMatch(/^(WireClosed|Error: read ECONNRESET)/);
    expect(server.seen.filter(({ id }) => id === "q")).toHaveLength(3);
  });
});

describe("an answer that nobody asked for", () => {
  const secrets = answerTo("of another caller");

  test("given with another to one of many callers reaches none of them", async () => {
    const server = await serve(({ id, socket }) => void socket.write(answerTo(id) + secrets));
    const pool = poolTo(server.url, { maxConnections: 4 });
    await warm(pool);
    expect(await outcomesOf(names("q", 40).map((id) => ask(pool, id)))).toEqual(names("q", 40));
    // Each connection was good for one request.
    expect(server.connections()).toBe(41);
  });

  test.each([
    ["longer than it says", (id: string) => answerTo(id) + "and more"],
    ["longer than it says by a whole answer", (id: string) => answerTo(id) + secrets],
    [
      "in chunks, and more",
      (id: string) =>
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${id.length.toString(16)}\r\n${id}\r\n0\r\n\r\n${secrets}`,
    ],
    ["without a body, and one behind it", (id: string) => `HTTP/1.1 204 x\r\n\r\n${id}`],
  ])("%s costs its connection and reaches nobody", async (_name, answer) => {
    const server = await serve(({ id, socket, connection }) => {
      socket.write(connection === 0 ? answer(id) : answerTo(id));
    });
    const pool = poolTo(server.url, { maxConnections: 1 });
    const [first = "", ...others] = await outcomesOf(names("q", 20).map((id) => ask(pool, id)));
    expect(["q0", ""]).toContain(first);
    expect(others).toEqual(names("q", 20).slice(1));
    expect(server.seen.filter(({ connection }) => connection === 0)).toHaveLength(1);
  });

  test("shorter than it says is given to nobody, nor is what comes next taken for its rest", async () => {
    const server = await serve(({ id, socket, connection }) => {
      socket.write(connection === 0 ? answerTo(`${id}…`).slice(0, -1) : answerTo(id));
    });
    const pool = poolTo(server.url, { maxConnections: 1, timeoutMs: 300 });
    const [first, ...others] = await outcomesOf(names("q", 5).map((id) => ask(pool, id)));
    expect(first).toBe("WireTimeout: did not answer in time");
    expect(others).toEqual(["q1", "q2", "q3", "q4"]);
  });

  test("before its request was made is given to nobody, though it was not read by then", async () => {
    const sockets: RawRequest[] = [];
    const server = await serve((request) => {
      sockets.push(request);
      echo(request);
    });
    const pool = poolTo(server.url, { maxConnections: 1 });
    for (const id of names("q", 20)) {
      await warm(pool);
      const last = sockets.at(-1);
      last?.socket.write(secrets);
      // The system has delivered it by then, and this process has not looked.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      expect(await ask(pool, id).outcome).toBe(id);
    }
  });

  test.each([
    ["whole", answerTo("evil")],
    ["in part", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"],
    ["in its first bytes", "HTTP/1"],
  ])("behind another, %s, is never given to the next request", async (_name, more) => {
    const server = await serve(({ id, socket, connection, earlier }) => {
      if (connection > 0) socket.write(answerTo(id));
      else if (earlier === 0) socket.write(answerTo(id) + more);
      else socket.write(answerTo("evil").slice(more.length));
    });
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await ask(pool, "q", "mutation").outcome).toBe("q");
    expect(server.connections()).toBe(2);
  });

  test("on an idle connection closes that", async () => {
    const sockets: RawRequest[] = [];
    const server = await serve((request) => {
      sockets.push(request);
      echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    sockets[0]?.socket.write(answerTo("evil"));
    await expect.poll(() => server.open()).toBe(0);
    expect(await ask(pool, "q").outcome).toBe("q");
  });
});

describe("servers of other kinds", () => {
  test("one of HTTP/1.0 that ends its answers by closing", async () => {
    const server = await serve(({ id, socket }) => void socket.end(`HTTP/1.0 200 OK\r\ncontent-type: a\r\n\r\n${id}`));
    const pool = poolTo(server.url);
    expect(await outcomesOf(names("q", 20).map((id) => ask(pool, id)))).toEqual(names("q", 20));
  });

  test("one that keeps an idle connection for a second has it used again, one for no time has not", async () => {
    for (const [seconds, connections] of [
      [1, 1],
      [0, 5],
    ] as const) {
      const server = await serve(
        ({ id, socket }) => void socket.write(answerTo(id, `keep-alive: timeout=${seconds}\r\n`)),
      );
      const pool = poolTo(server.url);
      for (const id of names("q", 5)) expect(await ask(pool, id).outcome).toBe(id);
      expect(server.connections()).toBe(connections);
    }
  });

  test("one that answers before it has all of a large request", async () => {
    const refusal = "HTTP/1.1 413 x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig";
    const refusing = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.pause().write(refusal));
    });
    refusing.listen(0, "127.0.0.1");
    await once(refusing, "listening");
    stage.onClose(() => void refusing.close());
    const pool = poolTo(new URL(`http://127.0.0.1:${(refusing.address() as AddressInfo).port}`));
    const body = "x".repeat(20_000_000);
    const status = await new Promise((resolve, reject) => {
      const request = `POST / HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      pool.send({
        request,
        isRepeatable: false,
        resolve: (response) => resolve(response.status),
        reject,
      });
    });
    expect(status).toBe(413);
  });

  test("one whose name has several addresses", async () => {
    const server = await serve(echo);
    const pool = poolTo(new URL(`http://localhost:${server.url.port}`));
    expect(await outcomesOf(names("q", 5).map((id) => ask(pool, id)))).toEqual(names("q", 5));
  });

  test.each(["127.0.0.1", "localhost"])("one of HTTPS at %s is told its name, but no address", async (host) => {
    const hello = Promise.withResolvers<string>();
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (data: Buffer) => {
        hello.resolve(data.toString("latin1"));
        socket.destroy();
      });
    });
    server.listen(0, host);
    await once(server, "listening");
    stage.onClose(() => void server.close());
    const pool = poolTo(new URL(`https://${host}:${(server.address() as AddressInfo).port}`));
    expect(await ask(pool, "q").outcome).toMatch(/WireUnreached|Error/);
    expect((await hello.promise).includes(host)).toBe(host === "localhost");
  });
});
