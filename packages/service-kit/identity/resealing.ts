import { ToolyardError } from "../errors/errors.ts";
import { deriveKey, keyId } from "./keys.ts";
import { createSealer } from "./sealing.ts";

/** Seals with the current key what earlier ones sealed, wherever in a text it is. */
export interface Resealer {
  /**
   * @param contexts Those in which a value may have been sealed: only the right one opens it
   * @returns the text, how many values in it open, how many of these were sealed anew, and those that open with no key, as does what only looks sealed
   */
  reseal(
    text: string,
    contexts: readonly string[],
  ): { text: string; opened: number; resealed: number; unopened: string[] };
}

/** As `createSealer` writes them: the id of the key, and the rest. */
const SEALED = /sealed:v1:([\w-]{12}):[\w-]{38,}/g;

export function createResealer(keys: { secretKey: string; previousSecretKeys: readonly string[] }): Resealer {
  const sealer = createSealer(keys);
  const current = keyId(deriveKey(keys.secretKey, "sealing"));

  function open(sealed: string, contexts: readonly string[]): { plain: string; context: string } | null {
    for (const context of contexts) {
      try {
        return { plain: sealer.open(sealed, context), context };
      } catch (error) {
        if (!(error instanceof ToolyardError)) throw error;
      }
    }
    return null;
  }

  return {
    reseal(text, contexts) {
      const found = { opened: 0, resealed: 0, unopened: [] as string[] };
      const changed = text.replaceAll(SEALED, (sealed: string, kid: string) => {
        const opened = open(sealed, contexts);
        if (!opened) {
          found.unopened.push(sealed);
          return sealed;
        }
        found.opened += 1;
        if (kid === current) return sealed;
        found.resealed += 1;
        return sealer.seal(opened.plain, opened.context);
      });
      return { text: changed, ...found };
    },
  };
}
