import type { Socket } from "node:net";
import { turns } from "@toolyard/testing/turns.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { answerTo, ask, openRawServer, type RawRequest } from "./fixtures/raw-server.ts";
import { createWirePool } from "./wire-pool.ts";

/** What the server does with a request, each time that it gets it, unless `once` is set. */
const treatments = [
  "answer",
  "answer in chunks",
  "answer byte by byte",
  "answer late",
  "answer after an early hint",
  "answer and say that it closes",
  "answer and close unsaid",
  "answer until it closes",
  "close without an answer",
  "break off within the answer",
  "reset",
  "never",
  "answer twice",
  "answer, and begin another",
] as const;
type Treatment = (typeof treatments)[number];

const weights: Partial<Record<Treatment, number>> = { answer: 12, "answer late": 3, never: 1 };
const planned = fc.record({
  treatment: fc.oneof(...treatments.map((kind) => ({ weight: weights[kind] ?? 2, arbitrary: fc.constant(kind) }))),
  once: fc.boolean(),
  kind: fc.constantFrom("query" as const, "query" as const, "query" as const, "mutation" as const),
  /** Turns of the event loop after the one before; null: in the same turn. */
  after: fc.option(fc.integer({ min: 0, max: 30 }), { freq: 2 }),
  takenBackAfter: fc.option(fc.integer({ min: 0, max: 60 }), { freq: 6 }),
});

const NOBODYS = answerTo("nobody");
const BEGUN = 30;

async function treat(treatment: Treatment, { id, socket }: RawRequest): Promise<void> {
  const whole = answerTo(id);
  switch (treatment) {
    case "answer":
      socket.write(whole);
      return;
    case "answer in chunks":
      socket.write(
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n${id.slice(0, 1)}\r\n${(id.length - 1).toString(16)};x\r\n`,
      );
      await turns(1);
      socket.write(`${id.slice(1)}\r\n0\r\nx: y\r\n\r\n`);
      return;
    case "answer byte by byte":
      for (let at = 0; at < whole.length; at++) {
        socket.write(whole.slice(at, at + 1));
        if (at % 20 === 0) await turns(1);
      }
      return;
    case "answer late":
      await turns(50);
      socket.write(whole);
      return;
    case "answer after an early hint":
      socket.write(`HTTP/1.1 103 x\r\n\r\n${whole}`);
      return;
    case "answer and say that it closes":
      socket.end(answerTo(id, "connection: close\r\n"));
      return;
    case "answer and close unsaid":
      socket.end(whole);
      return;
    case "answer until it closes":
      socket.end(`HTTP/1.1 200 OK\r\n\r\n${id}`);
      return;
    case "close without an answer":
      socket.end();
      return;
    case "break off within the answer":
      socket.end(whole.slice(0, -1));
      return;
    case "reset":
      socket.resetAndDestroy();
      return;
    case "never":
      return new Promise(() => undefined);
    case "answer twice":
      // The second is for nobody: it may not be given to whoever is next. That one's own is never sent.
      socket.write(whole + NOBODYS);
      return new Promise(() => undefined);
    case "answer, and begin another":
      socket.write(whole + NOBODYS.slice(0, BEGUN));
      return;
  }
}

test("whatever a server does every request is settled once, by its own answer or an error, and a mutation is sent once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(planned, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 4 }),
      async (plan, most) => {
        const times = new Map<string, number>();
        /** Those on which an answer to nobody has begun. */
        const begun = new WeakSet<Socket>();
        const server = await openRawServer(async (request) => {
          const step = plan[Number(request.id.slice(2))];
          const time = (times.get(request.id) ?? 0) + 1;
          times.set(request.id, time);
          const treatment = step && (time === 1 || !step.once) ? step.treatment : "answer";
          if (begun.delete(request.socket)) request.socket.write(NOBODYS.slice(BEGUN));
          else await treat(treatment, request);
          if (treatment === "answer, and begin another") begun.add(request.socket);
        });
        const pool = createWirePool({
          origin: server.url,
          maxConnections: most,
          connectTimeoutMs: 2_000,
          timeoutMs: 150,
          idleMs: 1_000,
          maxBodyBytes: 10_000,
        });
        try {
          await Promise.all(["w-x0", "w-x1"].map((id) => ask(pool, id).outcome));
          const asked = [];
          for (const [index, { kind, after, takenBackAfter }] of plan.entries()) {
            if (after !== null) await turns(after);
            const one = ask(pool, `q-${index}`, kind);
            asked.push({ ...one, kind, isTakenBack: takenBackAfter !== null });
            if (takenBackAfter !== null) void turns(takenBackAfter).then(one.takeBack);
          }
          const kept = asked.filter(({ isTakenBack }) => !isTakenBack);
          await Promise.all(kept.map(({ outcome }) => outcome));
          await turns(70);
          for (const { id, kind, outcome, settled, isTakenBack } of asked) {
            expect(settled()).toBeLessThanOrEqual(1);
            if (!isTakenBack) expect(settled()).toBe(1);
            if (settled() === 1) expect(await outcome).toMatch(new RegExp(`^(${id}|Wire.*|Error: .*)$`));
            if (kind === "mutation") expect(times.get(id) ?? 0).toBeLessThanOrEqual(1);
            expect(times.get(id) ?? 0).toBeLessThanOrEqual(3);
          }
        } finally {
          pool.close();
          await expect.poll(() => server.open()).toBe(0);
          await server.close();
        }
      },
    ),
    { numRuns: 100, endOnFailure: true },
  );
});
