import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test, vi } from "vitest";
import { answerTo, ask, openRawServer, type Asked, type RawRequest, type RawServer } from "./fixtures/raw-server.ts";
import { createWirePool, type WirePool, type WirePoolOptions } from "./wire-pool.ts";

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(handle: (request: RawRequest) => Promise<void> | void, host?: string): Promise<RawServer> {
  const server = await openRawServer(handle, host);
  cleanups.push(() => server.close());
  return server;
}

function poolTo(origin: URL, options: Partial<WirePoolOptions> = {}): WirePool {
  const pool = createWirePool({
    origin,
    maxConnections: 16,
    connectTimeoutMs: 5_000,
    timeoutMs: 10_000,
    idleMs: 30_000,
    maxBodyBytes: 1_000_000,
    maxPipelined: 8,
    ...options,
  });
  cleanups.push(() => pool.close());
  return pool;
}

const echo = ({ id, socket }: RawRequest) => void socket.write(answerTo(id));
const outcomesOf = (asked: readonly Asked[]) => Promise.all(asked.map(({ outcome }) => outcome));
const names = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}${at}`);
/** As long as no test takes, and far less than the timeouts. */
const soon = { timeout: 5_000, interval: 10 };

/** A connection that has answered. */
async function warm(pool: WirePool): Promise<void> {
  expect(await ask(pool, "warm").outcome).toBe("warm");
}

describe("what is asked in one turn of the event loop", () => {
  test("goes out in one segment where all are quick, and each gets its own answer", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2", "q3"]);
    expect(server.connections()).toBe(1);
    expect(server.seen.slice(1).map(({ together }) => together)).toEqual([4, 4, 4, 4]);
  });

  test("goes out on a connection each where it is not known to be quick", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await outcomesOf(names("q", 4).map((id) => ask(pool, id)))).toEqual(["q0", "q1", "q2", "q3"]);
    expect(server.connections()).toBe(4);
  });

  test("leaves a mutation alone on its connection, until that has answered", async () => {
    const held: RawRequest[] = [];
    const server = await serve((request) => {
      if (request.id.startsWith("m")) held.push(request);
      else echo(request);
    });
    const pool = poolTo(server.url, { maxConnections: 2 });
    await warm(pool);
    const mutation = ask(pool, "m", "mutation");
    const around = names("q", 12).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(around)).toEqual(names("q", 12));
    for (const id of names("r", 5)) expect(await ask(pool, id, "quick").outcome).toBe(id);
    const own = server.seen.find(({ id }) => id === "m");
    expect(server.seen.filter(({ connection, id }) => connection === own?.connection && id !== "warm")).toEqual([own]);
    held.forEach(echo);
    expect(await mutation.outcome).toBe("m");
  });

  test("sends nothing behind another where what may be sent once only is said to be quick", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    const send = (id: string) =>
      new Promise<string>((resolve, reject) => {
        pool.send({
          request: `POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n${id}`,
          isRepeatable: false,
          isQuick: true,
          resolve: ({ body }) => resolve(body),
          reject,
        });
      });
    expect(await Promise.all([send("m0"), send("m1"), send("m2")])).toEqual(["m0", "m1", "m2"]);
    expect(server.seen.every(({ together }) => together === 1)).toBe(true);
  });
});

describe("a server that closes an idle connection just as a request comes", () => {
  const closing = ({ id, socket, connection, earlier }: RawRequest) => {
    if (connection === 0 && earlier > 0) socket.destroy();
    else socket.write(answerTo(id));
  };

  test("is asked again on another", async () => {
    const server = await serve(closing);
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await outcomesOf(names("q", 3).map((id) => ask(pool, id, "quick")))).toEqual(["q0", "q1", "q2"]);
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

describe("a request that takes long keeps no others waiting", () => {
  test("which are answered elsewhere, each once, and it is answered when it is", async () => {
    const held: RawRequest[] = [];
    const server = await serve(async (request) => {
      if (request.id !== "slow") return echo(request);
      held.push(request);
      await vi.waitUntil(() => held.length === 0, soon);
      echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    // Long enough for the connections to be looked after seldom.
    await delay(80);
    const slow = ask(pool, "slow", "quick");
    const behind = names("q", 3).map((id) => ask(pool, id, "quick"));
    const from = performance.now();
    expect(await outcomesOf(behind)).toEqual(["q0", "q1", "q2"]);
    expect(performance.now() - from).toBeLessThan(700);
    expect(slow.settled()).toBe(0);
    held.splice(0);
    expect(await slow.outcome).toBe("slow");
    expect(await ask(pool, "after").outcome).toBe("after");
    expect(behind.map(({ settled }) => settled())).toEqual([1, 1, 1]);
    expect(server.seen.filter(({ id }) => id === "slow")).toHaveLength(1);
  });

  test("even where its answer keeps coming in small parts", async () => {
    const server = await serve(async (request) => {
      if (request.id !== "slow") return echo(request);
      const { socket } = request;
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n");
      for (let part = 0; part < 40; part++) {
        socket.write("x");
        await delay(50);
      }
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const slow = ask(pool, "slow", "quick");
    const behind = names("q", 3).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(behind)).toEqual(["q0", "q1", "q2"]);
    expect(slow.settled()).toBe(0);
    expect(await slow.outcome).toBe("x".repeat(40));
  });

  test("where there is no other connection they wait, and are asked anew when it fails", async () => {
    const server = await serve(async (request) => {
      if (request.id !== "slow") return echo(request);
      await delay(400);
      request.socket.destroy();
    });
    const pool = poolTo(server.url, { maxConnections: 1 });
    await warm(pool);
    const asked = ["slow", "q0", "q1"].map((id) => ask(pool, id, "quick"));
    const [slow, ...others] = await outcomesOf(asked);
    expect(others).toEqual(["q0", "q1"]);
    // That one may have been what the server cannot bear; it was repeated as often as may be.
    expect(slow).toMatch(/WireClosed|ECONNRESET/);
    expect(asked.map(({ settled }) => settled())).toEqual([1, 1, 1]);
  });

  test("and who is asked elsewhere by then is not asked anew when the slow one's connection ends", async () => {
    const server = await serve(async (request) => {
      const { id, socket } = request;
      if (id === "slow") {
        await delay(250);
        socket.destroy();
      } else if (id.startsWith("q")) {
        await delay(500);
        echo(request);
      } else echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const asked = ["slow", "q0", "q1"].map((id) => ask(pool, id, "quick"));
    const [, ...others] = await outcomesOf(asked);
    expect(others).toEqual(["q0", "q1"]);
    // Behind the slow one, and once more.
    for (const id of ["q0", "q1"]) expect(server.seen.filter((request) => request.id === id)).toHaveLength(2);
  });

  test("and who fails elsewhere may still be answered where it was asked first", async () => {
    let times = 0;
    const server = await serve(async (request) => {
      const { id, socket, together } = request;
      if (id === "slow") await delay(400);
      if (id === "q" && together === 1) {
        times += 1;
        socket.end(answerTo(id).slice(0, -1));
      } else echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const asked = ["slow", "q"].map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["slow", "q"]);
    expect(times).toBe(1);
  });

  test("nor does a process that is busy itself take it for the server's slowness", async () => {
    const worker = new Worker(
      `const { parentPort } = require("node:worker_threads");
       const seen = [];
       const server = require("node:net").createServer((socket) => {
         socket.on("error", () => undefined);
         socket.on("data", (data) => {
           const ids = [...String(data).matchAll(/\\r\\n\\r\\n([a-z]\\d)/g)].map((match) => match[1]);
           seen.push(ids);
           for (const id of ids) {
             socket.write("HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n" + id);
           }
         });
       }).listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
       parentPort.on("message", () => parentPort.postMessage(seen));`,
      { eval: true },
    );
    cleanups.push(async () => void (await worker.terminate()));
    const [port] = (await once(worker, "message")) as [number];
    const pool = poolTo(new URL(`http://127.0.0.1:${port}`));
    expect(await ask(pool, "w0").outcome).toBe("w0");
    const asked = names("q", 3).map((id) => ask(pool, id, "quick"));
    // Behind what sends them.
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    const until = performance.now() + 300;
    while (performance.now() < until);
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2"]);
    // They are sent together as before.
    expect(await outcomesOf(names("r", 3).map((id) => ask(pool, id, "quick")))).toEqual(["r0", "r1", "r2"]);
    worker.postMessage("seen");
    expect(await once(worker, "message")).toEqual([[["w0"], ["q0", "q1", "q2"], ["r0", "r1", "r2"]]]);
  });
});

describe("a server that does not like requests behind each other", () => {
  test("because it takes twenty milliseconds for each is soon sent one at a time", async () => {
    const server = await serve(async (request) => {
      await delay(20);
      echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const batches: number[] = [];
    await vi.waitUntil(async () => {
      const from = server.seen.length;
      await outcomesOf(names("q", 2).map((id) => ask(pool, id, "quick")));
      batches.push(Math.max(...server.seen.slice(from).map(({ together }) => together)));
      return batches.at(-1) === 1;
    }, soon);
    expect(batches.length).toBeGreaterThan(2);
    expect(batches.length).toBeLessThan(20);
  });

  test("and forgets all but the first is asked again for the others", async () => {
    const server = await serve((request) => {
      if (server.seen.find(({ connection, together }) => connection === request.connection && together > 1) === request)
        echo(request);
      else if (request.together === 1) echo(request);
    });
    const pool = poolTo(server.url, { timeoutMs: 20_000 });
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2", "q3"]);
    expect(asked.map(({ settled }) => settled())).toEqual([1, 1, 1, 1]);
    // And sent none behind another for a while.
    const from = server.seen.length;
    expect(await outcomesOf(names("r", 4).map((id) => ask(pool, id, "quick")))).toEqual(["r0", "r1", "r2", "r3"]);
    expect(server.seen.slice(from).every(({ together }) => together === 1)).toBe(true);
  });

  test("and closes after the first is asked again for the others", async () => {
    const server = await serve(({ id, socket, together }) => {
      if (together > 1) socket.end(answerTo(id, "connection: close\r\n"));
      else socket.write(answerTo(id));
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2", "q3"]);
    expect(asked.map(({ settled }) => settled())).toEqual([1, 1, 1, 1]);
  });
});

describe("an answer that nobody asked for", () => {
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
    await vi.waitUntil(async () => (await server.open()) === 0, soon);
    expect(await ask(pool, "q").outcome).toBe("q");
  });
});

describe("servers of other kinds", () => {
  test("one of HTTP/1.0 that ends its answers by closing", async () => {
    const server = await serve(({ id, socket }) => void socket.end(`HTTP/1.0 200 OK\r\ncontent-type: a\r\n\r\n${id}`));
    const pool = poolTo(server.url);
    expect(await outcomesOf(names("q", 20).map((id) => ask(pool, id, "quick")))).toEqual(names("q", 20));
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
    cleanups.push(() => void refusing.close());
    const pool = poolTo(new URL(`http://127.0.0.1:${(refusing.address() as AddressInfo).port}`));
    const body = "x".repeat(20_000_000);
    const status = await new Promise((resolve, reject) => {
      const request = `POST / HTTP/1.1\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      pool.send({
        request,
        isRepeatable: false,
        isQuick: false,
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
    cleanups.push(() => void server.close());
    const pool = poolTo(new URL(`https://${host}:${(server.address() as AddressInfo).port}`));
    expect(await ask(pool, "q").outcome).toMatch(/WireClosed|Error/);
    expect((await hello.promise).includes(host)).toBe(host === "localhost");
  });
});

describe("connections", () => {
  test("are never more than may be, and whoever waits gets one", async () => {
    let most = 0;
    const server = await serve(async (request) => {
      most = Math.max(most, await server.open());
      await delay(2);
      echo(request);
    });
    const pool = poolTo(server.url, { maxConnections: 3 });
    const asked = names("q", 60).map((id, at) =>
      ask(pool, id, at % 3 === 0 ? "mutation" : at % 3 === 1 ? "quick" : "query"),
    );
    expect(await outcomesOf(asked)).toEqual(names("q", 60));
    expect(most).toBe(3);
    expect(server.connections()).toBe(3);
  });

  test("that nobody takes fail all that wait for one", async () => {
    const server = await openRawServer(echo);
    await server.close();
    const pool = poolTo(server.url, { maxConnections: 2 });
    const outcomes = await outcomesOf(names("q", 50).map((id) => ask(pool, id, "quick")));
    for (const outcome of outcomes) expect(outcome).toMatch(/ECONNREFUSED/);
  });

  test("that cannot even be tried fail who asks, not the process", async () => {
    // No URL has such a port, but what else may be wrong with the system is found by the same call.
    const pool = poolTo({ protocol: "http:", hostname: "localhost", port: "70000" } as URL);
    expect(await outcomesOf(names("q", 2).map((id) => ask(pool, id)))).toEqual([
      expect.stringMatching(/port/i),
      expect.stringMatching(/port/i),
    ]);
  });

  test("that are idle are closed", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url, { idleMs: 100 });
    await outcomesOf(names("q", 4).map((id) => ask(pool, id)));
    expect(await server.open()).toBe(4);
    await vi.waitUntil(async () => (await server.open()) === 0, soon);
  });

  test("that do not answer in time are closed, and who was behind is asked elsewhere", async () => {
    const server = await serve((request) => (request.id === "never" ? new Promise(() => undefined) : echo(request)));
    const pool = poolTo(server.url, { timeoutMs: 300 });
    await warm(pool);
    const asked = ["never", "q0", "q1"].map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["WireTimeout: did not answer in time", "q0", "q1"]);
    await vi.waitUntil(async () => (await server.open()) < 3, soon);
  });
});

describe("a request that is taken back", () => {
  test("in the queue is not sent", async () => {
    const held: RawRequest[] = [];
    const server = await serve((request) => void held.push(request));
    const pool = poolTo(server.url, { maxConnections: 1 });
    const first = ask(pool, "first");
    const second = ask(pool, "second");
    const third = ask(pool, "third");
    await vi.waitUntil(() => held.length === 1, soon);
    second.takeBack();
    held.splice(0).forEach(echo);
    expect(await first.outcome).toBe("first");
    await vi.waitUntil(() => held.length === 1, soon);
    held.splice(0).forEach(echo);
    expect(await third.outcome).toBe("third");
    expect(second.settled()).toBe(0);
    expect(server.seen.map(({ id }) => id)).toEqual(["first", "third"]);
  });

  test("while its connection is made, or waits for its answer alone, closes that", async () => {
    const server = await serve(() => undefined);
    const pool = poolTo(server.url);
    const connecting = ask(pool, "connecting");
    await new Promise((resolve) => setImmediate(resolve));
    connecting.takeBack();
    const waiting = ask(pool, "waiting");
    await vi.waitUntil(() => server.seen.some(({ id }) => id === "waiting"), soon);
    waiting.takeBack();
    await vi.waitUntil(async () => (await server.open()) === 0, soon);
    expect([connecting.settled(), waiting.settled()]).toEqual([0, 0]);
  });

  test("keeps its place among others, whose answers stay theirs", async () => {
    const held: RawRequest[] = [];
    const server = await serve((request) => {
      if (request.id === "warm") echo(request);
      else held.push(request);
    });
    const pool = poolTo(server.url, { maxConnections: 1 });
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id, "quick"));
    await vi.waitUntil(() => held.length === 4, soon);
    asked[0]?.takeBack();
    asked[2]?.takeBack();
    held.forEach(echo);
    expect(await asked[1]?.outcome).toBe("q1");
    expect(await asked[3]?.outcome).toBe("q3");
    expect(asked.map(({ settled }) => settled())).toEqual([0, 1, 0, 1]);
  });

  test("with all that were sent with it says nothing against the server", async () => {
    const server = await serve((request) => {
      if (!request.id.startsWith("gone")) echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const gone = names("gone", 4).map((id) => ask(pool, id, "quick"));
    await vi.waitUntil(() => server.seen.length === 5, soon);
    for (const { takeBack } of gone) takeBack();
    await vi.waitUntil(async () => (await server.open()) === 0, soon);
    await warm(pool);
    expect(await outcomesOf(names("q", 4).map((id) => ask(pool, id, "quick")))).toEqual(names("q", 4));
    expect(server.seen.at(-1)?.together).toBe(4);
  });
});

describe("what the callbacks do", () => {
  test("one that throws harms nobody else on its connection, and is told so", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    const rejected = new Promise<Error>((reject) => {
      pool.send({
        request: "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
        isRepeatable: true,
        isQuick: true,
        resolve() {
          throw new Error("no");
        },
        reject,
      });
    });
    const asked = names("q", 3).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2"]);
    expect((await rejected).message).toBe("no");
    expect(server.connections()).toBe(1);
    expect(server.seen).toHaveLength(5);
  });

  test("one that closes the pool while several answers are read ends the others", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    pool.send({
      request: "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
      isRepeatable: true,
      isQuick: true,
      resolve: () => pool.close(),
      reject: () => undefined,
    });
    const asked = names("q", 3).map((id) => ask(pool, id, "quick"));
    for (const outcome of await outcomesOf(asked)) expect(outcome).toBe("WireClosed: is not asked any more");
    expect(asked.map(({ settled }) => settled())).toEqual([1, 1, 1]);
  });
});

describe("close", () => {
  test("settles what is sent, queued, connecting, rescued or not sent yet, and leaves nothing open", async () => {
    const server = await serve((request) => (request.id === "warm" ? echo(request) : new Promise(() => undefined)));
    const pool = poolTo(server.url, { maxConnections: 2 });
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id, "quick"));
    asked.push(ask(pool, "m", "mutation"), ask(pool, "queued"));
    // Until those behind the first are asked elsewhere.
    await delay(200);
    asked.push(ask(pool, "fresh", "quick"));
    pool.close();
    asked.push(ask(pool, "late"));
    for (const outcome of await outcomesOf(asked)) expect(outcome).toBe("WireClosed: is not asked any more");
    expect(asked.every(({ settled }) => settled() === 1)).toBe(true);
    await vi.waitUntil(async () => (await server.open()) === 0, soon);
  });

  test("a process waits for an answer, and ends when the pool is closed", async () => {
    const server = await serve(async (request) => {
      await delay(300);
      echo(request);
    });
    const module = pathToFileURL(join(import.meta.dirname, "wire-pool.ts")).href;
    const script = `
      import { createWirePool } from ${JSON.stringify(module)};
      const pool = createWirePool({ origin: new URL(${JSON.stringify(server.url.href)}), maxConnections: 4, connectTimeoutMs: 5000,
        timeoutMs: 10000, idleMs: 60000, maxBodyBytes: 1000, maxPipelined: 4 });
      pool.send({ request: "POST / HTTP/1.1\\r\\ncontent-length: 5\\r\\n\\r\\nhello", isRepeatable: true, isQuick: true,
        resolve({ body }) { console.log(body); pool.close(); }, reject: console.error });`;
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
      timeout: 10_000,
    });
    expect({ stdout, stderr }).toEqual({ stdout: "hello\n", stderr: "" });
  });
});
