import { createHmac, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { ClientInfo } from "./client-info.ts";

/** A session's replica, and the replica's own id of it. */
export interface SessionPlace {
  replicaId: string;
  ownId: string;
  /** The client that opened the session; left out where it is not known. */
  client?: ClientInfo;
}

type BarePlace = Omit<SessionPlace, "client">;

/**
 * `Mcp-Session-Id` as clients hold it: the replica and its own session id, signed with the user. Any proxy with the key finds the replica
 * without remembering anything; an id that is another user's or forged is not opened.
 */
export interface SessionIds {
  sign(place: SessionPlace, subject: string): string;
  /** Null unless a proxy with this key signed it for this subject. */
  open(sessionId: string, subject: string): SessionPlace | null;
}

/** 128 bits: no one can try enough. */
const MAC_BYTES = 16;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const MAX_LENGTH = 4096;
/** Characters of all remembered ids: servers may make an id as long as a header may be. */
const MAX_REMEMBERED_CHARACTERS = 4_000_000;

/** @param key Base64url, the route table's `sessionKey`. */
export function createSessionIds(options: { key: string }): SessionIds {
  const key = Buffer.from(options.key, "base64url");
  /** Ids opened before, so that a call of a running session costs no HMAC. */
  const remembered = new LRUCache<string, SessionPlace & { subject: string }>({
    maxSize: MAX_REMEMBERED_CHARACTERS,
    sizeCalculation: ({ ownId, subject }, sessionId) => 100 + sessionId.length + ownId.length + subject.length,
  });

  function macOf({ replicaId, ownId }: BarePlace, subject: string): Buffer {
    // JSON keeps the parts apart, whatever their content.
    const signed = JSON.stringify(["toolyard session 1", subject, replicaId, ownId]);
    return createHmac("sha256", key).update(signed).digest().subarray(0, MAC_BYTES);
  }

  function remember(sessionId: string, place: SessionPlace, subject: string): void {
    remembered.set(sessionId, { ...place, subject });
  }

  return {
    sign(place, subject) {
      const signed = withClient(place);
      const sessionId = Buffer.concat([macOf(signed, subject), encodePlace(signed)]).toString("base64url");
      remember(sessionId, place, subject);
      return sessionId;
    },
    open(sessionId, subject) {
      const hit = remembered.get(sessionId);
      if (hit) return hit.subject === subject ? hit : null;
      if (sessionId.length > MAX_LENGTH) return null;
      const bytes = Buffer.from(sessionId, "base64url");
      // Base64 has several spellings of the same bytes; only ours counts.
      if (bytes.toString("base64url") !== sessionId) return null;
      const signed = decodePlace(bytes.subarray(MAC_BYTES));
      if (!signed || !timingSafeEqual(bytes.subarray(0, MAC_BYTES), macOf(signed, subject))) return null;
      const place = splitClient(signed);
      remember(sessionId, place, subject);
      return place;
    },
  };
}

/** An id that goes in a header has none of these; neither has a label. */
const CLIENT_FOLLOWS = "\0";
const VERSION_FOLLOWS = "\u0001";

function withClient({ replicaId, ownId, client }: SessionPlace): BarePlace {
  if (client === undefined) return { replicaId, ownId };
  return { replicaId, ownId: `${ownId}${CLIENT_FOLLOWS}${client.name}${VERSION_FOLLOWS}${client.version}` };
}

function splitClient({ replicaId, ownId: text }: BarePlace): SessionPlace {
  const [ownId = "", said] = text.split(CLIENT_FOLLOWS, 2);
  if (said === undefined) return { replicaId, ownId };
  const [name = "", version = ""] = said.split(VERSION_FOLLOWS, 2);
  return { replicaId, ownId, client: { name, version } };
}

/** Length of the replica's id (0: a UUID, in 16 bytes), the id, the replica's own session id. */
export function encodePlace({ replicaId, ownId }: BarePlace): Buffer {
  const id = UUID.test(replicaId) ? Buffer.from(replicaId.replaceAll("-", ""), "hex") : Buffer.from(replicaId, "utf8");
  if (id.length > 255) throw new RangeError("A replica's id has at most 255 bytes.");
  const length = UUID.test(replicaId) ? 0 : id.length;
  return Buffer.concat([Buffer.of(length), id, Buffer.from(ownId, "utf8")]);
}

export function decodePlace(bytes: Buffer): BarePlace | null {
  const length = bytes[0];
  if (length === undefined) return null;
  const end = 1 + (length === 0 ? 16 : length);
  if (bytes.length < end) return null;
  const id = bytes.subarray(1, end);
  const replicaId =
    length === 0
      ? id.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
      : id.toString("utf8");
  return { replicaId, ownId: bytes.subarray(end).toString("utf8") };
}
