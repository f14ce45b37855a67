import { crc32 } from "node:zlib";
import { badInput } from "@toolyard/service-kit";

/** The logs whose events are streamed: each is its subgraph's own. The order is that of positions' text: more go to the end. */
export const TOPICS = ["deployment", "health", "task", "tool"] as const;
export type Topic = (typeof TOPICS)[number];

/** The newest sequence of each log that a client has. A log that it did not follow is left out. */
export type EventPosition = Readonly<Partial<Record<Topic, number>>>;

/** The first byte: another form of positions gets another one. */
const VERSION = 1;
const SEQUENCE_BYTES = 8;
const CHECKED_BYTES = 1 + TOPICS.length * SEQUENCE_BYTES;
const CHECKSUM_BYTES = 3;
const CHECKSUM_MASK = 0xff_ffff;
/** Stands for a log that is left out. */
const NOT_FOLLOWED = 2n ** 64n - 1n;
/** All positions have this length, which takes no padding. */
export const POSITION_LENGTH = (4 * (CHECKED_BYTES + CHECKSUM_BYTES)) / 3;
const FORM = new RegExp(`^[A-Za-z0-9_-]{${POSITION_LENGTH}}$`);

/** The position as an event's `id`: text in base64url that only this module reads. */
export function encodePosition(position: EventPosition): string {
  const bytes = Buffer.alloc(CHECKED_BYTES + CHECKSUM_BYTES);
  bytes[0] = VERSION;
  for (const [index, topic] of TOPICS.entries()) {
    const sequence = position[topic];
    bytes.writeBigUInt64BE(sequence === undefined ? NOT_FOLLOWED : BigInt(sequence), 1 + index * SEQUENCE_BYTES);
  }
  bytes.writeUIntBE(checksumOf(bytes), CHECKED_BYTES, CHECKSUM_BYTES);
  return bytes.toString("base64url");
}

/**
 * The position of an event's `id`. The checksum finds ids that were cut or mistyped; it keeps no secret: whoever makes a position up may
 * read the log from there anyway.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function decodePosition(id: string): EventPosition {
  if (!FORM.test(id)) throw malformed();
  const bytes = Buffer.from(id, "base64url");
  if (bytes[0] !== VERSION || bytes.readUIntBE(CHECKED_BYTES, CHECKSUM_BYTES) !== checksumOf(bytes)) throw malformed();
  const position: Partial<Record<Topic, number>> = {};
  for (const [index, topic] of TOPICS.entries()) {
    const sequence = bytes.readBigUInt64BE(1 + index * SEQUENCE_BYTES);
    if (sequence === NOT_FOLLOWED) continue;
    if (sequence > Number.MAX_SAFE_INTEGER) throw malformed();
    position[topic] = Number(sequence);
  }
  return position;
}

const checksumOf = (bytes: Buffer): number => crc32(bytes.subarray(0, CHECKED_BYTES)) & CHECKSUM_MASK;

const malformed = () =>
  badInput([{ path: "after", message: 'is no position: pass the `id` of an event, or "0" for all there is' }]);
