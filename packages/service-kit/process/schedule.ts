import { Cron } from "croner";

/** The times between the next runs. */
interface Intervals {
  shortestMs: number;
  longestMs: number;
}

const LOOKED_AT = 16;

/** Of a schedule in cron's words, in UTC: five fields, six with seconds before, or `@hourly` and the like. Null: it does not come about twice. */
export function intervalsOf(schedule: string): Intervals | null {
  try {
    const runs = new Cron(schedule, { paused: true, utcOffset: 0 }).nextRuns(LOOKED_AT);
    const gaps = runs.slice(1).map((run, index) => run.getTime() - (runs[index]?.getTime() ?? 0));
    return gaps.length === 0 ? null : { shortestMs: Math.min(...gaps), longestMs: Math.max(...gaps) };
  } catch {
    return null;
  }
}
