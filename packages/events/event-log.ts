import { ToolyardError, type Page } from "@toolyard/service-kit";
import type { LongWork, Transaction } from "@toolyard/storage";

/** Position in a log. Decimal text at the graph's edge; "0" is before the first. */
export type Sequence = number;

export interface NewEvent<Payload> {
  /** What happened, in the log's own words. */
  kind: string;
  /** The id of what it happened to: a deployment, a task, a tool. */
  subjectId: string;
  /** JSON. Facts that the event must keep for good, such as the status at that time. */
  payload: Payload;
  at?: number;
}

export interface LoggedEvent<Payload> {
  sequence: Sequence;
  /** Epoch milliseconds. */
  at: number;
  kind: string;
  subjectId: string;
  payload: Payload;
}

/** An append-only log in its subgraph's own store. */
export interface EventLog<Payload> {
  readonly topic: string;
  /**
   * Appends in the transaction of the change that the events describe, as its last statements. Stores call it, so that no change is without its
   * events. Sequences rise in commit order without gaps visible to `readAfter`; followers are woken after the commit.
   */
  append(tx: Transaction, events: readonly NewEvent<Payload>[]): Promise<Sequence[]>;
  /** At most `limit` events after `sequence`, in order, of one subject when given. Empty when there are none. */
  readAfter(sequence: Sequence, limit: number, subjectId?: string): Promise<LoggedEvent<Payload>[]>;
  /** A page of each subject's events, newest first, one more than its limit where there are more; `page.afterId` is a sequence. */
  historiesOf(subjectIds: readonly string[], page: Page): Promise<LoggedEvent<Payload>[][]>;
  /** How many events there are of each subject. */
  countsOf(subjectIds: readonly string[]): Promise<number[]>;
  /** The newest sequence; 0 when nothing was ever appended. */
  latest(): Promise<Sequence>;
  /** As `latest`, queued with transactions: events of a transaction that is requested later come after it. */
  latestInTurn(): Promise<Sequence>;
  /** Removes events older than `at` (epoch ms), and all before them; answers how many. */
  trim(at: number, work?: LongWork): Promise<number>;
  /** The newest sequence that was trimmed away; 0 when none was. Reading after less than this would miss events. */
  trimmedTo(): Promise<Sequence>;
}

/** Parses `after` of a subscription or history. @throws ToolyardError BAD_USER_INPUT */
export function parseSequence(after: string): Sequence {
  if (!/^\d{1,15}$/.test(after)) {
    const message = 'is not a position in the event log: pass a `sequence` you were given, or "0" for the start';
    throw new ToolyardError("BAD_USER_INPUT", `after: ${message}`, { problems: [{ path: "after", message }] });
  }
  return Number(after);
}
