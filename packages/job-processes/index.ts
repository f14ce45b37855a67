export { createJobProcesses, type JobProcesses, type JobProcessesOptions } from "./job-processes.ts";
