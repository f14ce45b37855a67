export { cpuTime } from "./cpu-time.ts";
export { codeOf, dataOf, executeOn, subscribeOn, type Answer, type AnswerStream } from "./execute.ts";
export {
  eventually,
  freePort,
  graphqlClient,
  logIn,
  startToolyard,
  type GraphqlAnswer,
  type RunningToolyard,
  type ToolyardOptions,
} from "./toolyard.ts";
export { connectMcp, type McpClient, type McpEra } from "./mcp-client.ts";
export { processesWith, sleepsOf } from "./processes.ts";
export { plansOf, statementsOf } from "./statements.ts";
