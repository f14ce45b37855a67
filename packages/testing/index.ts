export { codeOf, dataOf, executeOn, subscribeOn, type AnswerStream } from "./execute.ts";
export { eventually, freePort, graphqlClient, logIn, startToolyard, type RunningToolyard } from "./toolyard.ts";
export { connectMcp, type McpClient, type McpEra } from "./mcp-client.ts";
export { processesWith, sleepsOf } from "./processes.ts";
export { plansOf, statementsOf } from "./statements.ts";
