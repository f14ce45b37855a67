import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { ToolyardError } from "../errors/errors.ts";
import { deriveKey, keyId } from "./keys.ts";

/** Seals values at rest: AES-256-GCM, `sealed:v1:<kid>:<base64url of nonce, tag, ciphertext>`. */
export interface Sealer {
  /**
   * `context` is bound as additional data: a sealed value moved elsewhere does not open. In a database it is an id in the value's row, or
   * `table.column:id`, where a rotation of the keys looks for it (`packages/storage/reseal.ts`).
   */
  seal(plain: string, context: string): string;
  /** @throws ToolyardError INTERNAL_SERVER_ERROR when the key, the context or the value is not the one it was sealed with. */
  open(sealed: string, context: string): string;
}

/** A value was sealed with a key that this process does not have: somebody has to give it that key. */
export class SealedElsewhereError extends ToolyardError {
  constructor() {
    super(
      "INTERNAL_SERVER_ERROR",
      "A sealed value was sealed with another SECRET_KEY. Set SECRET_KEY_PREVIOUS to the key it was sealed with.",
    );
    this.name = "SealedElsewhereError";
  }
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `previousSecretKeys` open values sealed before a rotation; new values are sealed with `secretKey`. */
export function createSealer(options: { secretKey: string; previousSecretKeys?: readonly string[] }): Sealer {
  const keys = new Map<string, Buffer>();
  for (const secret of [...(options.previousSecretKeys ?? []), options.secretKey]) {
    const key = deriveKey(secret, "sealing");
    keys.set(keyId(key), key);
  }
  const current = deriveKey(options.secretKey, "sealing");
  const currentId = keyId(current);
  return {
    seal(plain, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", current, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
      return `sealed:v1:${currentId}:${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64url")}`;
    },
    open(sealed, context) {
      const [, , kid = "", text = ""] = sealed.split(":");
      const key = keys.get(kid);
      if (!key) throw new SealedElsewhereError();
      const bytes = Buffer.from(text, "base64url");
      try {
        // Of a tag that was cut, GCM would take as little as four bytes.
        const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, NONCE_BYTES), {
          authTagLength: TAG_BYTES,
        })
          .setAAD(Buffer.from(context))
          .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
        return decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
      } catch (cause) {
        throw new ToolyardError("INTERNAL_SERVER_ERROR", "A sealed value does not open: it was changed or moved.", {
          cause,
        });
      }
    },
  };
}
