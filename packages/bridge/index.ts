/** An MCP server on stdio, served as Streamable HTTP: main.ts is the process, this is the library. */
export { bridgeCommand, warmUpCommand } from "./arguments.ts";
export { handOver, pipesFor } from "./child/handover.ts";
export { type Bridge, createBridge } from "./bridge.ts";
export { prepareLaunch } from "./child/spawn.ts";
