export { isLeaseHeld, type JobLease, type JobLeases } from "./job-leases.ts";
export { createSqlJobLeases, jobEntity } from "./job-leases.sql.ts";
export { createScheduler, type Job, type ScheduledJobs, type Scheduler } from "./scheduler.ts";
