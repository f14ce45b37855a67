import { randomFillSync } from "node:crypto";

/** Random bytes as hex from a pool: asking the system for each id would cost more than the rest of a call. */
export function createRandomHex(): (bytes: number) => string {
  const pool = Buffer.alloc(8192);
  let at = pool.length;
  return (bytes) => {
    if (at + bytes > pool.length) {
      randomFillSync(pool);
      at = 0;
    }
    at += bytes;
    return pool.toString("hex", at - bytes, at);
  };
}
