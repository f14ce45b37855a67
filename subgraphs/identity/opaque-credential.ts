import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** `ty`: API key. `tyt`: stream ticket. `tyr`: refresh token. */
export type CredentialKind = "ty" | "tyt" | "tyr";

export interface OpaqueCredential {
  kind: CredentialKind;
  /** The id of its row, readable by anyone who holds it. */
  id: string;
}

/** `<kind>_<id>_<secret>`, the secret of 256 random bits. Only `hash` is stored. */
export function mintCredential(kind: CredentialKind, id: string): { text: string; hash: string } {
  const text = `${kind}_${id}_${randomBytes(32).toString("base64url")}`;
  return { text, hash: hashOf(text) };
}

/** The parts of a credential, or null when it is not one of these. Proves nothing. */
export function readCredential(text: string): OpaqueCredential | null {
  const match = /^(ty|tyt|tyr)_([0-9a-f-]{36})_[\w-]{43}$/.exec(text);
  // The expression allows these three only.
  return match?.[1] && match[2] ? { kind: match[1] as CredentialKind, id: match[2] } : null;
}

/** SHA-256, hex: enough for a secret of 256 random bits, which nobody can guess. */
export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Whether the credential is the one that was hashed, in constant time. */
export function matchesHash(text: string, hash: string): boolean {
  return timingSafeEqual(Buffer.from(hashOf(text), "hex"), Buffer.from(hash, "hex"));
}
