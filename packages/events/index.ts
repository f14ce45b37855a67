export { createRedisBus } from "./bus.redis.ts";
export { createInProcessBus, type WakeUpBus } from "./bus.ts";
export {
  createEventLog,
  eventLogSchema,
  type EventLog,
  type EventLogSchema,
  type LoggedEvent,
  type NewEvent,
} from "./event-log.ts";
export { createEventSubjects, type EventSubjects } from "./event-subjects.ts";
export { createEventTail, type EventLogRange, type EventTail, type FollowOptions } from "./event-tail.ts";
export { subscriptionStream } from "./subscription-stream.ts";
