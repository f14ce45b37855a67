import type { ServerResponse } from "node:http";
import fc from "fast-check";
import { expect, test } from "vitest";

import { fakeChild } from "./child.fixture.ts";
import { createExchange } from "../protocol/exchange.ts";
import type { Id, Message } from "../protocol/json-rpc.ts";
import { createPeer, restoreId } from "./peer.ts";

/** A response that keeps what was written. */
function fakeResponse(): { response: ServerResponse; messages(): Message[]; ends(): number } {
  let text = "";
  let ends = 0;
  const response = {
    writableLength: 0,
    destroyed: false,
    writeHead: () => response,
    flushHeaders: () => undefined,
    write: (chunk: string) => (text += chunk),
    end: (chunk?: string) => {
      ends += 1;
      text += chunk === undefined ? "" : `data: ${chunk}\n`;
    },
  };
  return {
    // Just the members that an exchange uses.
    response: response as unknown as ServerResponse,
    messages: () => [...text.matchAll(/^data: (.*)$/gm)].map((match) => JSON.parse(match[1] ?? "")),
    ends: () => ends,
  };
}

type Step =
  | { kind: "ask"; asker: number; id: Id; progress: boolean }
  | { kind: "answer" | "progress" | "cancel"; at: number }
  | { kind: "stray"; id: Id };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      asker: fc.nat(3),
      id: fc.constantFrom<Id>(1, 2, "1", "x"),
      progress: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("answer" as const, "progress" as const, "cancel" as const),
      at: fc.nat(20),
    }),
  },
  fc.record({ kind: fc.constant("stray" as const), id: fc.constantFrom<Id>(999, "999") }),
);

test.each([
  ["of all askers", true],
  ["of its one asker", false],
])(
  "whatever the interleaving, in a child %s every answer and every progress goes to its asker, once, under the asker's own id",
  (_whose, remap) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, dies) => {
        const { child, sent, say, die } = fakeChild();
        const stray: Message[] = [];
        const peer = createPeer({
          child,
          remap,
          now: () => 0,
          handler: {
            onNotification: (message) => stray.push(message),
            onRequest: () => undefined,
            onEnd: () => undefined,
          },
        });
        const askers = [{}, {}, {}, {}];
        let secret = 0;
        const calls: {
          wire: Message;
          clientId: Id;
          owner: object;
          secret: number;
          expected: unknown[];
          token: string | undefined;
          open: boolean;
          answered: boolean;
          out: ReturnType<typeof fakeResponse>;
        }[] = [];
        for (const next of steps) {
          if (next.kind === "ask") {
            secret += 1;
            const out = fakeResponse();
            // One asker's tokens are told apart, like its ids, but only while they are in use.
            const token = next.progress ? `token-${remap ? next.asker : JSON.stringify(next.id)}` : undefined;
            const owner = askers[remap ? next.asker : 0];
            if (owner === undefined) throw new Error("there is no such asker");
            const message: Message = {
              jsonrpc: "2.0",
              id: next.id,
              method: "tools/call",
              params: { secret, ...(token === undefined ? {} : { _meta: { progressToken: token } }) },
            };
            const call = peer.request({
              message,
              raw: JSON.stringify(message),
              exchange: createExchange(out.response, { streamable: true, outstanding: 1 }),
              owner,
              encode: remap ? restoreId : (_call, _message, raw) => raw,
            });
            const inUse = calls.some((other) => other.open && other.clientId === next.id);
            expect(call === null).toBe(!remap && inUse);
            if (call === null) continue;
            const wire = sent.at(-1);
            if (wire === undefined) throw new Error("nothing was sent");
            expect(wire.params?.secret).toBe(secret);
            calls.push({
              wire,
              clientId: next.id,
              owner,
              secret,
              expected: [],
              token,
              open: true,
              answered: false,
              out,
            });
            continue;
          }
          if (next.kind === "stray") {
            say({ jsonrpc: "2.0", id: next.id, result: { secret: -1 } });
            continue;
          }
          const call = calls[next.at % Math.max(1, calls.length)];
          if (call === undefined) continue;
          // Where ids are the asker's, a message about an answered call can belong to the next call with its id.
          if (!remap && call.answered) continue;
          if (next.kind === "answer") {
            call.answered = true;
            say({ jsonrpc: "2.0", id: call.wire.id ?? null, result: { secret: call.secret } });
            if (call.open) call.expected.push({ jsonrpc: "2.0", id: call.clientId, result: { secret: call.secret } });
            call.open = false;
          } else if (next.kind === "progress") {
            if (call.token === undefined) continue;
            const meta = call.wire.params?._meta as { progressToken: Id };
            say({
              jsonrpc: "2.0",
              method: "notifications/progress",
              params: { progressToken: meta.progressToken, progress: call.secret },
            });
            if (call.open)
              call.expected.push({
                jsonrpc: "2.0",
                method: "notifications/progress",
                params: { progressToken: call.token, progress: call.secret },
              });
          } else {
            const { id = null } = call.wire;
            const open = call.open && id !== null ? peer.open.get(id) : undefined;
            if (open !== undefined) peer.cancel(open, "enough");
            call.open = false;
          }
        }
        if (remap) expect(new Set(calls.map((call) => call.wire.id)).size).toBe(calls.length);
        expect(peer.open.size).toBe(calls.filter((call) => call.open).length);
        if (dies) {
          die();
          for (const call of calls) {
            if (call.open)
              call.expected.push({
                jsonrpc: "2.0",
                id: call.clientId,
                error: { code: -32000, message: "the server exited with code 1; the call was not repeated" },
              });
            call.open = false;
          }
          expect(peer.open.size).toBe(0);
        }
        for (const call of calls) {
          expect(call.out.messages()).toEqual(call.expected);
          expect(call.out.ends()).toBe(call.open ? 0 : 1);
        }
        expect(stray).toEqual([]);
      }),
      {
        numRuns: 300,
        examples: [
          [
            // The second call of a session with an id whose first was given up has another at the server, also after its end.
            [
              { kind: "ask", asker: 0, id: "x", progress: false },
              { kind: "cancel", at: 0 },
              { kind: "ask", asker: 0, id: "x", progress: true },
              { kind: "cancel", at: 3 },
              { kind: "progress", at: 13 },
            ],
            false,
          ],
        ],
      },
    );
  },
);
