import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { query, missed, type Request } from "./asking.ts";
import { documentRequests } from "./document-requests.ts";
import type { Sizes } from "./fill.ts";
import { HOT, deploymentId, toolId } from "./names.ts";
import type { Program } from "./program.ts";
import { toolRequests } from "./tool-requests.ts";
import { usageRequests } from "./usage-requests.ts";

const others: Request[] = [
  query(
    "a page of 100 versions of one tool",
    "versions",
    `query ($id: ID!) { tool(id: $id) { versions(first: 100) { edges { node { number createdBy { username } } } } } }`,
    () => ({ id: toolId(HOT) }),
  ),
  query(
    "its versions with `totalCount`",
    "versions",
    `query ($id: ID!) { tool(id: $id) { versions(first: 20) { totalCount edges { node { number } } } } }`,
    () => ({ id: toolId(HOT) }),
  ),
  query(
    "a page of 100 users with API keys",
    "users",
    "{ users(first: 100) { edges { node { username apiKeys { name } } } } }",
  ),
  query(
    "users by a word, and `totalCount`",
    "users",
    `{ users(first: 20, search: "user-7") { totalCount edges { node { username } } } }`,
  ),
  query("`me`", "users", "{ me { username } }"),
  query(
    "`createApiKey`",
    "users",
    'mutation { createApiKey(input: { name: "bench", scopes: [READ] }) { apiKey { id } } }',
  ),
  query(
    "a page of 100 tasks",
    "tasks",
    "{ tasks(first: 100) { edges { node { status tool { name } requestedBy { username } } } } }",
  ),
  query(
    "failed tasks with `totalCount`",
    "tasks",
    "{ tasks(first: 20, status: FAILED) { totalCount edges { node { id } } } }",
  ),
  query(
    "queued tasks of a kind (there are none)",
    "tasks",
    "{ tasks(first: 20, status: QUEUED, kind: SMOKE_TEST) { edges { node { id } } } }",
  ),
  query(
    "a tool's tasks",
    "tasks",
    "query ($id: ID!) { tool(id: $id) { tasks(first: 20) { edges { node { status } } } } }",
    () => ({ id: toolId(HOT) }),
  ),
  query(
    "a page of 100 deployments",
    "ended",
    "{ deployments(first: 100) { edges { node { name status tool { name } deployedBy { username } replicas { phase } } } } }",
  ),
  query("deployments with `totalCount`", "ended", "{ deployments(first: 20) { totalCount edges { node { name } } } }"),
  query(
    "failed deployments in an environment",
    "ended",
    "{ deployments(first: 20, status: FAILED, environment: STAGING) { edges { node { name } } } }",
  ),
  query(
    "deployments that run (there are none)",
    "ended",
    "{ deployments(first: 20, status: RUNNING) { edges { node { name } } } }",
  ),
  query(
    "deployments in an environment but for the failed",
    "ended",
    "{ deployments(first: 20, environment: STAGING, includeFailed: false) { edges { node { name } } } }",
  ),
  query(
    "a tool's deployments, of which it has half",
    "ended",
    "query ($id: ID!) { tool(id: $id) { deployments(first: 20) { edges { node { name } } } } }",
    () => ({ id: toolId(HOT) }),
  ),
  query("a deployment by its tool's slug", "ended", '{ deployment(name: "tool-1") { name } }'),
  missed(
    "a name that nothing deployed has, and what is close to it",
    "ended",
    '{ deployment(name: "toool-1") { name } }',
  ),
  query("`mcpUrl` of 100 tools", "ended", "{ tools(first: 100) { edges { node { mcpUrl } } } }"),
  query(
    "100 events of a deployment",
    "events",
    `query ($id: ID!) { deployment(id: $id) { events(first: 100) { edges { node { message deployment { name } } } } } }`,
    () => ({ id: deploymentId(HOT) }),
  ),
  query(
    "its events with `totalCount`",
    "events",
    `query ($id: ID!) { deployment(id: $id) { events(first: 20) { totalCount edges { node { message } } } } }`,
    () => ({ id: deploymentId(HOT) }),
  ),
  { what: "replay of all events, each with its deployment", of: "events", ask: replay, each: ({ events }) => events },
];

const root = join(import.meta.dirname, "..", "..", "..");
const IDLE_SECONDS = 6;

/** For itself, and at the end: it changes what is there. */
const chores: Request[] = [
  { what: "`/metrics`", of: "ended", ask: (program) => get(program, `${program.toolyard.url}/metrics`) },
  { what: "`/health`", of: "ended", ask: (program) => get(program, `${program.toolyard.url}/health`) },
  {
    what: "the command `list`",
    of: "tools",
    once: true,
    ask: ({ toolyard, token }) =>
      promisify(execFile)(process.execPath, [join(root, "cli", "main.ts"), "list"], {
        env: { TOOLYARD_URL: toolyard.url, TOOLYARD_TOKEN: token },
        maxBuffer: Infinity,
      }),
  },
  {
    what: "a second of rest",
    of: "ended",
    once: true,
    ask: () => delay(IDLE_SECONDS * 1_000),
    each: () => IDLE_SECONDS,
  },
  {
    what: "a backup by `npm run backup`, for those who work meanwhile",
    of: "records",
    once: true,
    async ask({ toolyard }) {
      const target = join(toolyard.dataDir, "..", `backup-${randomUUID()}`);
      await promisify(execFile)(process.execPath, [join(root, "scripts", "backup.ts"), target], {
        env: { DATA_DIR: toolyard.dataDir },
      });
      await rm(target, { recursive: true });
    },
  },
  { what: "housekeeping", of: "records", once: true, housekeeping: true, ask: (program) => program.quiet() },
];

/** In the order in which they are asked. */
export const requests: readonly Request[] = [
  ...toolRequests,
  ...others,
  ...usageRequests,
  ...documentRequests,
  ...chores,
];

async function get({ token }: Program, url: string): Promise<void> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${url} answers ${response.status}.`);
  await response.arrayBuffer();
}

/** Reads a deployment's events from the log's start to its end. */
async function replay({ toolyard, token }: Program, { events }: Sizes): Promise<void> {
  const client = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
  });
  const text = `subscription ($id: ID!) { deploymentEvents(deploymentId: $id, after: "0") { sequence message deployment { name status } } }`;
  let received = 0;
  for await (const { errors } of client.iterate({ query: text, variables: { id: deploymentId(HOT) } })) {
    if (errors) throw new Error(JSON.stringify(errors));
    received += 1;
    if (received === events) break;
  }
  await client.dispose();
}
