import { execFile } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { turns } from "@toolyard/testing/turns.ts";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { answerTo, ask, openRawServer, type RawRequest } from "./fixtures/raw-server.ts";
import { createStage, echo, names, outcomesOf, warm } from "./fixtures/stage.ts";

const stage = createStage();
const { serve, poolTo } = stage;
afterEach(stage.close);

describe("what is asked in one turn of the event loop", () => {
  test("goes out on a connection each, and each gets its own answer", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    expect(await outcomesOf(names("q", 4).map((id) => ask(pool, id)))).toEqual(["q0", "q1", "q2", "q3"]);
    expect(server.connections()).toBe(4);
  });

  test("sends nothing behind what is not answered yet, however many wait for a connection", async () => {
    const open = new Set<number>();
    const server = await serve(async ({ id, socket, connection }) => {
      expect(open.has(connection)).toBe(false);
      open.add(connection);
      await turns(3);
      open.delete(connection);
      socket.write(answerTo(id));
    });
    const pool = poolTo(server.url, { maxConnections: 3 });
    expect(await outcomesOf(names("q", 60).map((id) => ask(pool, id)))).toEqual(names("q", 60));
    expect(server.connections()).toBe(3);
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
    const around = names("q", 12).map((id) => ask(pool, id));
    expect(await outcomesOf(around)).toEqual(names("q", 12));
    for (const id of names("r", 5)) expect(await ask(pool, id).outcome).toBe(id);
    const own = server.seen.find(({ id }) => id === "m");
    expect(server.seen.filter(({ connection, id }) => connection === own?.connection && id !== "warm")).toEqual([own]);
    held.forEach(echo);
    expect(await mutation.outcome).toBe("m");
  });
});

describe("connections", () => {
  test("are never more than may be, and whoever waits gets one", async () => {
    let most = 0;
    const server = await serve(async (request) => {
      most = Math.max(most, await server.open());
      await turns(3);
      echo(request);
    });
    const pool = poolTo(server.url, { maxConnections: 3 });
    const asked = names("q", 60).map((id, at) => ask(pool, id, at % 3 === 0 ? "mutation" : "query"));
    expect(await outcomesOf(asked)).toEqual(names("q", 60));
    expect(most).toBe(3);
    expect(server.connections()).toBe(3);
  });

  test("that nobody takes fail all that wait for one", async () => {
    const server = await openRawServer(echo);
    await server.close();
    const pool = poolTo(server.url, { maxConnections: 2 });
    const outcomes = await outcomesOf(names("q", 50).map((id) => ask(pool, id)));
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

  test("are not taken for silent where it is this process that was busy", async () => {
    const [ASKED, MAY_ANSWER, HAS_ANSWERED] = [0, 1, 2];
    const steps = new Int32Array(new SharedArrayBuffer(12));
    // In a thread of its own, so that it answers while this one is busy.
    const worker = new Worker(
      `const { parentPort, workerData: steps } = require("node:worker_threads");
       const done = (step) => { Atomics.store(steps, step, 1); Atomics.notify(steps, step); };
       require("node:http").createServer((request, response) => {
         done(${ASKED});
         Atomics.wait(steps, ${MAY_ANSWER}, 0);
         response.end("late", () => done(${HAS_ANSWERED}));
       }).listen(0, "127.0.0.1", function () { parentPort.postMessage(this.address().port); });`,
      { eval: true, workerData: steps },
    );
    stage.onClose(async () => void (await worker.terminate()));
    const [port] = (await once(worker, "message")) as [number];
    const pool = poolTo(new URL(`http://127.0.0.1:${port}`), { timeoutMs: 30_000 });
    const asked = ask(pool, "q");
    await expect.poll(() => Atomics.load(steps, ASKED)).toBe(1);
    Atomics.store(steps, MAY_ANSWER, 1);
    Atomics.notify(steps, MAY_ANSWER);
    Atomics.wait(steps, HAS_ANSWERED, 0);
    // oxlint-disable-next-line no-restricted-properties -- it is moved, not read
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + 60_000);
    onTestFinished(() => clock.mockRestore());
    expect(await asked.outcome).toBe("late");
  });

  test("that are idle are closed", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url, { idleMs: 500 });
    await outcomesOf(names("q", 4).map((id) => ask(pool, id)));
    expect(await server.open()).toBe(4);
    await expect.poll(() => server.open()).toBe(0);
  });

  test("that do not answer in time are closed, and no other waits for them", async () => {
    const server = await serve((request) => (request.id === "never" ? new Promise(() => undefined) : echo(request)));
    const pool = poolTo(server.url, { timeoutMs: 300 });
    await warm(pool);
    const asked = ["never", "q0", "q1"].map((id) => ask(pool, id));
    expect(await outcomesOf(asked)).toEqual(["WireTimeout: did not answer in time", "q0", "q1"]);
    await expect.poll(() => server.open()).toBeLessThan(3);
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
    await expect.poll(() => held.length).toBe(1);
    second.takeBack();
    held.splice(0).forEach(echo);
    expect(await first.outcome).toBe("first");
    await expect.poll(() => held.length).toBe(1);
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
    await expect.poll(() => server.seen.map(({ id }) => id)).toContain("waiting");
    waiting.takeBack();
    await expect.poll(() => server.open()).toBe(0);
    expect([connecting.settled(), waiting.settled()]).toEqual([0, 0]);
  });
});

describe("what the callbacks do", () => {
  test("one that throws harms neither its connection nor others, and is told so", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    const rejected = new Promise<Error>((reject) => {
      pool.send({
        request: "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
        isRepeatable: true,
        resolve() {
          throw new Error("no");
        },
        reject,
      });
    });
    const asked = names("q", 3).map((id) => ask(pool, id));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2"]);
    expect((await rejected).message).toBe("no");
    expect(await server.open()).toBe(4);
  });

  test("one that closes the pool while several answers are read ends the others", async () => {
    const server = await serve(echo);
    const pool = poolTo(server.url);
    await warm(pool);
    pool.send({
      request: "POST / HTTP/1.1\r\ncontent-length: 1\r\n\r\nx",
      isRepeatable: true,
      resolve: () => pool.close(),
      reject: () => undefined,
    });
    const asked = names("q", 3).map((id) => ask(pool, id));
    for (const outcome of await outcomesOf(asked)) expect(outcome).toBe("WireClosed: is not asked any more");
    expect(asked.map(({ settled }) => settled())).toEqual([1, 1, 1]);
  });
});

describe("close", () => {
  test("settles what is sent, queued, connecting or not sent yet, and leaves nothing open", async () => {
    const server = await serve((request) => (request.id === "warm" ? echo(request) : new Promise(() => undefined)));
    const pool = poolTo(server.url, { maxConnections: 2 });
    await warm(pool);
    const asked = names("q", 4).map((id) => ask(pool, id));
    asked.push(ask(pool, "m", "mutation"), ask(pool, "queued"));
    await expect.poll(() => server.seen.length).toBe(3);
    asked.push(ask(pool, "fresh"));
    pool.close();
    asked.push(ask(pool, "late"));
    for (const outcome of await outcomesOf(asked)) expect(outcome).toBe("WireClosed: is not asked any more");
    expect(asked.every(({ settled }) => settled() === 1)).toBe(true);
    await expect.poll(() => server.open()).toBe(0);
  });

  test("a process waits for an answer, and ends when the pool is closed", async () => {
    const server = await serve(async (request) => {
      await turns(20);
      echo(request);
    });
    const module = pathToFileURL(join(import.meta.dirname, "wire-pool.ts")).href;
    const script = `
      import { createWirePool } from ${JSON.stringify(module)};
      const pool = createWirePool({ origin: new URL(${JSON.stringify(server.url.href)}), maxConnections: 4, connectTimeoutMs: 5000,
        timeoutMs: 10000, idleMs: 60000, maxBodyBytes: 1000 });
      pool.send({ request: "POST / HTTP/1.1\\r\\ncontent-length: 5\\r\\n\\r\\nhello", isRepeatable: true,
        resolve({ body }) { console.log(body); pool.close(); }, reject: console.error });`;
    const { stdout, stderr } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
    expect({ stdout, stderr }).toEqual({ stdout: "hello\n", stderr: "" });
  });
});
