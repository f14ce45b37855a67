export { createJobProcesses } from "./job-processes.ts";
