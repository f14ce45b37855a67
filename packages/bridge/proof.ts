import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * Challenge and response: a client about to send a bridge its token first makes it prove that it holds that token, once on
 * each connection, so that no other process that listens in a bridge's place learns it. `GET /proof?nonce=…` answers the proof.
 */
export const PROOF_PATH = "/proof";

const NONCE_BYTES = 32;
const NONCE_FORM = /^[\w-]{43}$/;

export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString("base64url");
}

export function isNonce(text: string): boolean {
  return NONCE_FORM.test(text);
}

/** HMAC-SHA256 by the token, over the nonce and the purpose; base64url. */
export function proofOf(token: string, nonce: string): string {
  return createHmac("sha256", token).update(`toolyard bridge proof 1\n${nonce}`).digest("base64url");
}

export function isProof(token: string, nonce: string, given: string): boolean {
  const wanted = Buffer.from(proofOf(token, nonce));
  const answered = Buffer.from(given);
  return answered.length === wanted.length && timingSafeEqual(answered, wanted);
}
