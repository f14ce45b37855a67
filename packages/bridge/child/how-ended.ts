/** A server that ends sooner than this after its start ends "at once" (ms). */
export const AT_ONCE_MS = 5_000;

/** Follows how such a server ended. */
export const AT_ONCE = " at once";

/** How a server's process ended, as the end of a sentence about it. */
export function howEnded({ code, signal }: { code: number | null; signal: string | null }): string {
  return signal === null ? `exited with code ${code ?? "unknown"}` : `was killed by ${signal}`;
}
