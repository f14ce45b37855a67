import { setImmediate as turn } from "node:timers/promises";

/** So many turns of the event loop, in each of which sockets are read and written: a pause that is as long as this machine is slow. */
export async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await turn();
}

const STILL_TURNS = 3_000;

/**
 * Waits until a value has not changed for many turns of the event loop, and answers it. For how far something comes whose every part
 * runs in this process, such as a sender that is held back.
 */
export async function standstill<Value>(read: () => Value): Promise<Value> {
  let last = read();
  for (let still = 0; still < STILL_TURNS; still++) {
    await turn();
    const value = read();
    if (value !== last) still = 0;
    last = value;
  }
  return last;
}
