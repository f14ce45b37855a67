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

/** A text with what the server said after it, for those who may see that. */
export function told<Text extends string | null>(
  text: Text,
  words: string | null | undefined,
  isInspector: boolean,
): Text | string {
  if (words == null || !isInspector) return text;
  // Those of earlier versions have no end.
  return text === null ? asSentence(words) : `${text} ${asSentence(words)}`;
}

/** A line that is quoted, with an end: what follows it is not part of it. */
export function asSentence(line: string): string {
  return /[.!?…]["'”’)\]]?$/.test(line) ? line : `${line}.`;
}
