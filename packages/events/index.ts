export { createRedisBus } from "./bus.redis.ts";
export { createInProcessBus, type WakeUpBus } from "./bus.ts";
export type { EventLog, LoggedEvent, NewEvent } from "./event-log.ts";
export { createEventLog, eventLogSchema, type EventLogSchema } from "./event-log.sql.ts";
export { createEventSubjects, type EventSubjects } from "./event-subjects.ts";
export { createEventTail, type EventLogRange, type EventTail, type FollowOptions } from "./event-tail.ts";
export { subscriptionStream } from "./subscription-stream.ts";
