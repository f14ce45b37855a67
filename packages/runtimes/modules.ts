// Runtimes by the name that MCP_DEPLOYMENT_BACKEND has for them. One of your own is a folder beside these, and a line here (docs/runtimes.md).
export { docker } from "./docker/index.ts";
export { kubernetes } from "./kubernetes/index.ts";
export { mock } from "./mock/index.ts";
export { process } from "./process/index.ts";
export { remote } from "./remote/index.ts";
