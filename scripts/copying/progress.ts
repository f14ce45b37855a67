import type { WriteStream } from "node:tty";

/** How far long work on rows is: a bar on a terminal, and a line now and then elsewhere. */
export interface Progress {
  /** The work from here on, and how many rows it has. */
  begin(work: string, total: number): void;
  /** So many more rows of a part are done. */
  done(part: string, rows: number): void;
  /** A line for itself. */
  say(line: string): void;
  end(): void;
}

const BAR_WIDTH = 24;
const REDRAW_MS = 100;
const LINE_MS = 5_000;
const CLEAR_LINE = "\r\u001b[2K";

export function createProgress(
  stream: Pick<WriteStream, "write"> & { isTTY?: boolean; columns?: number },
  now: () => number = () => performance.now(),
): Progress {
  let state = { work: "", part: "", total: 0, rows: 0, since: 0 };
  let shownAt = Number.NEGATIVE_INFINITY;
  const isBar = stream.isTTY === true;

  function show(): void {
    shownAt = now();
    if (isBar) stream.write(`${CLEAR_LINE}${barOf(state, now()).slice(0, (stream.columns ?? 100) - 1)}`);
    else stream.write(`${statusOf(state, now())}\n`);
  }

  return {
    begin(work, total) {
      state = { work, part: "", total, rows: 0, since: now() };
      shownAt = isBar ? Number.NEGATIVE_INFINITY : now();
    },
    done(part, rows) {
      const isNew = part !== state.part;
      state = { ...state, part, rows: state.rows + rows };
      if (now() - shownAt >= (isBar ? REDRAW_MS : LINE_MS) || (isNew && !isBar)) show();
    },
    say: (line) => void stream.write(`${isBar ? CLEAR_LINE : ""}${line}\n`),
    end() {
      if (state.total > 0) show();
      if (isBar) stream.write("\n");
      state = { ...state, total: 0 };
    },
  };
}

interface State {
  work: string;
  part: string;
  total: number;
  rows: number;
  /** Milliseconds. */
  since: number;
}

function barOf(state: State, now: number): string {
  const share = state.total === 0 ? 1 : Math.min(1, state.rows / state.total);
  const full = Math.round(share * BAR_WIDTH);
  return `[${"#".repeat(full)}${"-".repeat(BAR_WIDTH - full)}] ${statusOf(state, now)}`;
}

function statusOf({ work, part, total, rows, since }: State, now: number): string {
  const share = total === 0 ? 100 : Math.min(100, Math.floor((rows / total) * 100));
  const rate = rows / Math.max(0.001, (now - since) / 1_000);
  const left = rate === 0 ? "" : `, ${timeOf((Math.max(0, total - rows) / rate) * 1_000)} left`;
  return `${share} % ${work} ${part}: ${rows} of ${total} rows, ${Math.round(rate)} rows/s${left}`;
}

function timeOf(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
