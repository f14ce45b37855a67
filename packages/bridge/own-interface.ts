import { ownEnvelope } from "./child-opening.ts";
import { PeerError, rawOf } from "./child/peer.ts";
import { readInterface, type InterfaceReading } from "./interface.ts";
import { toDiscoverResult } from "./protocol/translation.ts";
import type { SharedChild } from "./shared-child.ts";
import type { SharedChildren } from "./shared-children.ts";

/** How long a server may take for one page. */
const PAGE_TIMEOUT_MS = 10_000;
const MAX_DISCOVERED = 128 * 1_024;

/**
 * Reads the offer of the server from the blank child, which goes on waiting for the first session. Where that was given away, another child
 * is asked, started for it if need be.
 * @throws Unavailable
 */
export async function readOwnInterface(children: SharedChildren): Promise<InterfaceReading> {
  const blank = children.blank();
  if (blank !== undefined) {
    const reading = read(blank, () => children.blank() === blank);
    children.keepBlankFor(reading);
    const found = await reading;
    if (children.blank() === blank) return found;
  }
  const nobody = { caller: "", user: "", capabilities: {} };
  const { child, release } = await children.lease({ ...nobody, stateless: false, mayAsk: false, mayLog: false });
  try {
    return await read(child, () => true);
  } finally {
    release();
  }
}

async function read({ peer, identity, speaks }: SharedChild, isOurs: () => boolean): Promise<InterfaceReading> {
  const reading = await readInterface({
    ...identity,
    async ask(method, params) {
      if (!isOurs()) throw new PeerError("the child was given to a session");
      const envelope = speaks === "stateless" ? { _meta: ownEnvelope } : {};
      const answer = await peer.ask(method, { ...params, ...envelope }, PAGE_TIMEOUT_MS);
      return { result: answer.result, error: answer.error, bytes: Buffer.byteLength(rawOf(answer)) };
    },
  });
  const discovered = speaks === "stateless" ? identity.result : toDiscoverResult(identity);
  return JSON.stringify(discovered).length > MAX_DISCOVERED ? reading : { ...reading, discovered };
}
