import { v7 } from "uuid";

/** A new id: UUIDv7 (RFC 9562), which sorts by the time it was made. */
export function newId(): string {
  return v7();
}

/** A text that sorts before all ids made at `at` (epoch ms) or later, and after all made before: for ranges of a primary key. */
export function firstIdAt(at: number): string {
  const hex = Math.max(0, Math.trunc(at)).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-`;
}
