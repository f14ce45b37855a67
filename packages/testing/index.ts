export { codeOf, dataOf, executeOn, subscribeOn, type AnswerStream } from "./execute.ts";
export { eventually } from "./eventually.ts";
export { freePort, freePorts, portBlock } from "./ports.ts";
export { compileCache, graphqlClient, logIn, startToolyard, type RunningToolyard } from "./toolyard.ts";
export { connectMcp, type McpClient, type McpEra } from "./mcp-client.ts";
export { mostLoopWork, processesWith, sleepsOf } from "./processes.ts";
export { plansOf, statementsOf } from "./statements.ts";
