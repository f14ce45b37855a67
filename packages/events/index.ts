export { createInProcessBus, type WakeUpBus } from "./bus.ts";
export {
  createEventLog,
  eventLogSchema,
  parseSequence,
  type EventLog,
  type EventLogSchema,
  type LoggedEvent,
  type NewEvent,
  type Sequence,
} from "./event-log.ts";
export { createEventSubjects, type EventSubjects, type StreamSubjects } from "./event-subjects.ts";
export { createEventTail, type EventTail, type FollowOptions } from "./event-tail.ts";
export { subscriptionStream } from "./subscription-stream.ts";
