import type { TaskKind } from "./task.ts";

/** Tells processes that run a kind of task that some are due. It only says "look": the rows are the truth, and are looked through where it is silent. */
export interface TaskDispatcher {
  /** Whether nobody is told of anything just now. */
  readonly isAway: boolean;
  /** Says that tasks of a kind are due, or will be after `inMs`. Perhaps nobody hears it, and what nobody has heard yet is said once. */
  announce(kind: TaskKind, inMs?: number): void;
  /**
   * Calls `look` when tasks of this kind are due, and not again before it resolves; where the process ends before that, another one is told.
   * `look` never rejects.
   */
  work(kind: TaskKind, look: () => Promise<void>): { close(): Promise<void> };
  close(): Promise<void>;
}
