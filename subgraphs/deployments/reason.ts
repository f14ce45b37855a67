/** Why something is not as it was asked to be, in two parts. */
export interface Reason {
  /** Toolyard's own sentence, for everybody who may read deployments. */
  reason: string;
  /**
   * What the server said, as a sentence, known secrets hidden; null where it said nothing. It may hold users' data: only for
   * those who may inspect the deployment.
   */
  words: string | null;
}

/** A text followed by the server's words, for those who may see them. */
export function told<Text extends string | null>(
  text: Text,
  words: string | null | undefined,
  isInspector: boolean,
): Text | string {
  if (words == null || !isInspector) return text;
  // Those of earlier versions have no end.
  return text === null ? asSentence(words) : `${text} ${asSentence(words)}`;
}

/** A quoted line, with an end mark that separates it from the text after it. */
export function asSentence(line: string): string {
  return /[.!?…]["'”’)\]]?$/.test(line) ? line : `${line}.`;
}
