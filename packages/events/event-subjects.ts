import type { LoggedEvent, Sequence } from "./event-log.ts";

type Event = Pick<LoggedEvent<unknown>, "sequence" | "subjectId">;

/**
 * The subjects of a log's events, as they are now: read once for all subscribers to an event, and a page ahead for a replay. A subject is never
 * older than the event, and at most a second older than the moment at which it is asked for.
 */
export interface EventSubjects<Subject> {
  /** For one stream of events. */
  forStream(): StreamSubjects<Subject>;
}

interface StreamSubjects<Subject> {
  /** The stream's next events, which are asked for one by one after this. */
  expect(events: readonly Event[]): void;
  /** Null when the subject is gone. */
  of(event: Event): Promise<Subject | null>;
}

interface Known<Subject> {
  /** Events up to this one had happened when it was read. */
  asOf: Sequence;
  subject: Promise<Subject | null>;
}

const KEPT_MS = 1_000;
/** Subjects kept at a time; a replay of more reads some again. */
const MAX_KEPT = 1_000;
/** Subjects read ahead: more would hold up the process. */
const AHEAD = 50;

/** @param options.read Answers in the order of `ids`. */
export function createEventSubjects<Subject>(options: {
  read: (ids: readonly string[]) => Promise<(Subject | null)[]>;
}): EventSubjects<Subject> {
  const { read } = options;
  let known = new Map<string, Known<Subject>>();
  /** The newest event that is known to have happened. */
  let newest: Sequence = 0;

  const isKnown = (event: Event) => (known.get(event.subjectId)?.asOf ?? -1) >= event.sequence;

  function readTogether(events: Iterable<Event>): void {
    const ids = new Set<string>();
    for (const event of events) {
      if (!isKnown(event)) ids.add(event.subjectId);
      if (ids.size === AHEAD) break;
    }
    if (known.size === 0) setTimeout(() => known.clear(), KEPT_MS).unref();
    if (known.size + ids.size > MAX_KEPT) known = new Map();
    const order = [...ids];
    const reading = read(order);
    for (const [index, id] of order.entries()) {
      const subject = reading.then((subjects) => subjects[index] ?? null);
      // A caller that asks for it gets the error; perhaps nobody asks for a subject that was read ahead.
      subject.catch(() => known.delete(id));
      known.set(id, { asOf: newest, subject });
    }
  }

  return {
    forStream() {
      let expected: readonly Event[] = [];
      return {
        expect(events) {
          expected = events;
          newest = Math.max(newest, events.at(-1)?.sequence ?? 0);
        },
        of(event) {
          newest = Math.max(newest, event.sequence);
          if (!isKnown(event)) {
            const place = expected.findIndex(({ sequence }) => sequence === event.sequence);
            readTogether(place === -1 ? [event] : expected.slice(place));
          }
          return known.get(event.subjectId)?.subject ?? Promise.resolve(null);
        },
      };
    },
  };
}
