import type { Task, TaskKind } from "./task.ts";

/** Hands tasks that are due out to the processes that run their kinds. It only says "look": the rows are the truth, and are looked through where it is silent. */
export interface TaskDispatcher {
  /** Whether nobody is told of anything just now. */
  readonly isAway: boolean;
  /** Says that there is a task. At most once, and perhaps not at all. Those that a user waits for are handed out before those that came by themselves. */
  announce(task: Pick<Task, "id" | "kind" | "requestedById">): void;
  /**
   * Calls `look` with ids of tasks of this kind, at most `concurrency` at once, until it is closed. Each is told of again where the process
   * ends meanwhile, and after so many milliseconds as `look` resolves with; null: no more. `look` never rejects.
   */
  work(kind: TaskKind, concurrency: number, look: (id: string) => Promise<number | null>): { close(): Promise<void> };
  close(): Promise<void>;
}
