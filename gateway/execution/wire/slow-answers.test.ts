import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test, vi } from "vitest";
import { answerTo, ask, type RawRequest } from "./fixtures/raw-server.ts";
import { createStage, echo, names, outcomesOf, soon, warm } from "./fixtures/stage.ts";

const stage = createStage();
const { serve, poolTo } = stage;
afterEach(stage.close);

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
    const slow = ask(pool, "slow", "quick");
    const behind = names("q", 3).map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(behind)).toEqual(["q0", "q1", "q2"]);
    expect(slow.settled()).toBe(0);
    held.splice(0);
    expect(await slow.outcome).toBe("slow");
    expect(await ask(pool, "after").outcome).toBe("after");
    expect(behind.map(({ settled }) => settled())).toEqual([1, 1, 1]);
    expect(server.seen.filter(({ id }) => id === "slow")).toHaveLength(1);
  });

  test("for no longer where the connections were looked after seldom by then", async () => {
    const took: number[] = [];
    // Another process may take the time of one; each begins anew, as a server that was slow is sent nothing behind another for a while.
    while (took.length < 5 && !took.some((ms) => ms < 700)) {
      const server = await serve((request) => (request.id === "slow" ? new Promise(() => undefined) : echo(request)));
      const pool = poolTo(server.url);
      await warm(pool);
      await delay(80);
      const from = performance.now();
      void ask(pool, "slow", "quick");
      expect(await ask(pool, "q", "quick").outcome).toBe("q");
      took.push(performance.now() - from);
    }
    expect(Math.min(...took), "they are looked after every second while all are idle").toBeLessThan(700);
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
    let failures = 0;
    const server = await serve(async (request) => {
      const { id, socket, together } = request;
      if (id === "slow") await vi.waitUntil(() => failures > 0, soon);
      if (id === "q" && together === 1) {
        socket.once("close", () => (failures += 1));
        socket.end(answerTo(id).slice(0, -1));
      } else echo(request);
    });
    const pool = poolTo(server.url);
    await warm(pool);
    const asked = ["slow", "q"].map((id) => ask(pool, id, "quick"));
    expect(await outcomesOf(asked)).toEqual(["slow", "q"]);
    expect(failures).toBe(1);
  });

  test("nor does a process that is busy itself take it for the server's slowness", async () => {
    /** How many answers were written; whether this process is busy. */
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const worker = new Worker(
      `const { parentPort, workerData: shared } = require("node:worker_threads");
       const seen = [];
       const server = require("node:net").createServer((socket) => {
         socket.on("error", () => undefined);
         socket.on("data", (data) => {
           const ids = [...String(data).matchAll(/\\r\\n\\r\\n([a-z]\\d)/g)].map((match) => match[1]);
           seen.push(ids);
           // None of these is read before.
           if (ids[0] === "q0") Atomics.wait(shared, 1, 0, 10_000);
           for (const id of ids) {
             const answer = "HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n" + id;
             socket.write(answer, () => Atomics.add(shared, 0, 1));
           }
         });
       }).listen(0, "127.0.0.1", () => parentPort.postMessage(server.address().port));
       parentPort.on("message", () => parentPort.postMessage(seen));`,
      { eval: true, workerData: shared },
    );
    stage.onClose(async () => void (await worker.terminate()));
    const [port] = (await once(worker, "message")) as [number];
    const pool = poolTo(new URL(`http://127.0.0.1:${port}`));
    expect(await ask(pool, "w0").outcome).toBe("w0");
    const asked = names("q", 3).map((id) => ask(pool, id, "quick"));
    // Behind what sends them.
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    Atomics.store(shared, 1, 1);
    Atomics.notify(shared, 1);
    const from = performance.now();
    const busyMs = () => performance.now() - from;
    while (busyMs() < 300 || (Atomics.load(shared, 0) < 4 && busyMs() < 5_000));
    expect(await outcomesOf(asked)).toEqual(["q0", "q1", "q2"]);
    // They are sent together as before.
    expect(await outcomesOf(names("r", 3).map((id) => ask(pool, id, "quick")))).toEqual(["r0", "r1", "r2"]);
    worker.postMessage("seen");
    expect(await once(worker, "message")).toEqual([[["w0"], ["q0", "q1", "q2"], ["r0", "r1", "r2"]]]);
  });
});
