import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject } from "node:crypto";

/** The purpose of a key: each purpose has its own, so that a leaked key opens nothing else. */
export type KeyPurpose =
  | "token-signing"
  | "caller-signing"
  | "sealing"
  | "digest-hmac"
  | "proxy-session"
  | "replica-token"
  | "approval"
  | "audit";

/** 32 bytes from SECRET_KEY by HKDF-SHA-256 (RFC 5869), the purpose as info. */
export function deriveKey(secretKey: string, purpose: KeyPurpose): Buffer {
  return Buffer.from(hkdfSync("sha256", secretKey, "toolyard", `toolyard/${purpose}/v1`, 32));
}

/** Short public name of a secret, for envelopes: which key sealed this. Reveals nothing of it. */
export function keyId(key: Buffer): string {
  return createHash("sha256").update("kid:").update(key).digest("base64url").slice(0, 12);
}

// PKCS #8 of an Ed25519 private key is this prefix and the 32-byte seed (RFC 8410, section 7).
const PKCS8_ED25519 = Buffer.from("302e020100300506032b657004220420", "hex");

export interface SigningKeyPair {
  kid: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/** The Ed25519 pair that signs for this purpose; the same SECRET_KEY gives the same pair in every process. */
export function deriveSigningKeys(secretKey: string, purpose: KeyPurpose): SigningKeyPair {
  const seed = deriveKey(secretKey, purpose);
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(privateKey);
  const kid = keyId(publicKey.export({ format: "der", type: "spki" }));
  return { kid, privateKey, publicKey };
}
