import { createHmac, timingSafeEqual } from "node:crypto";
import { decodePlace, encodePlace } from "./session-id.ts";

/**
 * `requestState` of revision 2026-07-28 as clients hold it: the state of a server that asked for input, and its
 * replica, signed over caller and call. Any proxy with the key finds the replica for the next round without remembering
 * anything; a state of another user or call, an old or a changed one is not opened.
 */
export interface RequestStates {
  sign(state: { replicaId: string; own: string }, call: StatefulCall): string;
  /** Null unless a proxy with this key signed it recently for this call. */
  open(state: string, call: StatefulCall): { replicaId: string; own: string } | null;
}

/** The data that the rounds of a call have in common. */
export interface StatefulCall {
  subject: string;
  toolId: string;
  /** As in their headers. */
  mcpMethod: string;
  mcpName: string;
}

/** 128 bits: no one can try enough. */
const MAC_BYTES = 16;
const TIME_BYTES = 6;
/** Between two rounds somebody reads a question and answers it. */
const GOOD_FOR_MS = 60 * 60_000;

/** @param key Base64url, the route table's `sessionKey`. */
export function createRequestStates(options: { key: string; now: () => number }): RequestStates {
  const { now } = options;
  const key = Buffer.from(options.key, "base64url");

  function macOf(content: Buffer, { subject, toolId, mcpMethod, mcpName }: StatefulCall): Buffer {
    // JSON keeps the parts apart, whatever their content; the state comes last and has no delimiter.
    const call = JSON.stringify(["toolyard request state 1", subject, toolId, mcpMethod, mcpName]);
    return createHmac("sha256", key).update(`${call}\n`).update(content).digest().subarray(0, MAC_BYTES);
  }

  return {
    sign({ replicaId, own }, call) {
      const time = Buffer.alloc(TIME_BYTES);
      time.writeUIntBE(now(), 0, TIME_BYTES);
      const content = Buffer.concat([time, encodePlace({ replicaId, ownId: own })]);
      return Buffer.concat([macOf(content, call), content]).toString("base64url");
    },
    open(state, call) {
      const bytes = Buffer.from(state, "base64url");
      // Base64 has several spellings of the same bytes; only ours counts.
      if (bytes.length < MAC_BYTES + TIME_BYTES || bytes.toString("base64url") !== state) return null;
      const content = bytes.subarray(MAC_BYTES);
      if (!timingSafeEqual(bytes.subarray(0, MAC_BYTES), macOf(content, call))) return null;
      if (now() - content.readUIntBE(0, TIME_BYTES) > GOOD_FOR_MS) return null;
      const place = decodePlace(content.subarray(TIME_BYTES));
      return place && { replicaId: place.replicaId, own: place.ownId };
    },
  };
}
