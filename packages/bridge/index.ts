/** An MCP server on stdio, served as Streamable HTTP: the process is main.ts, this is its face as a library. */
export { type BridgeCommandOptions, bridgeCommand, warmUpCommand } from "./arguments.ts";
export { handOver, pipesFor } from "./child/handover.ts";
export { type Bridge, type BridgeOptions, createBridge } from "./bridge.ts";
export { type Launch, LaunchError, type LaunchOptions, prepareLaunch } from "./child/spawn.ts";
