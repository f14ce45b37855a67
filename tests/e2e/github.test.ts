import { createHmac } from "node:crypto";
import { EventSource } from "eventsource";
import { createClient, type Client } from "graphql-ws";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { signedDelivery, startGitHubServer, type GitHubServer } from "@toolyard/testing/github-server.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";

const SECRET = "a-webhook-secret-of-the-tests";

let github: GitHubServer;
let toolyard: RunningToolyard;
let token: string;
let toolId: string;
let connectionId: string;

const graph = () => graphqlClient(toolyard.url, token);
const files = () => github.repositories.get("acme/weather")?.["main"] ?? {};
const manifest = (more = "") =>
  `name: Weather\ndescription: From the repository\nlaunch:\n  stdio: { command: node, args: [/srv/server.js] }\nknowledge: ["docs/*.md"]\n${more}`;

const push = (changed: string[] = ["toolyard.yaml"], more: object = {}) => ({
  ref: "refs/heads/main",
  repository: { full_name: "Acme/weather" },
  commits: [{ added: [], removed: [], modified: changed }],
  ...more,
});

const send = ({ headers, body }: { headers: Record<string, string>; body: string | Uint8Array<ArrayBuffer> }) =>
  fetch(`${toolyard.url}/api/v1/github/webhook`, { method: "POST", headers, body });

// What the routes under test answer.
const answerOf = async (response: Response) => (await response.json()) as Record<string, string>;

async function rest(
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; body: Record<string, string> }> {
  const response = await fetch(`${toolyard.url}/api/v1/github/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: response.status === 204 ? {} : await answerOf(response) };
}

interface EndedTask {
  kind: string;
  status: string;
  error: { code: string; message: string } | null;
  result: unknown;
}

async function ended(taskId: string) {
  const read = () =>
    graph().query<{ task: EndedTask }>(
      `query ($id: ID!) { task(id: $id) { kind status error { code message } result { ... on SyncReport { commitSha warnings documentIds
        toolVersion { id number source commitSha changeSummary } documents { id title content } } } } }`,
      { id: taskId },
    );
  return eventually("the task's end", async () => {
    const { task } = await read();
    return ["SUCCEEDED", "FAILED", "CANCELLED"].includes(task.status) ? task : null;
  });
}

const connectionOf = async () =>
  (
    await graph().query<{ githubConnection: Record<string, unknown> }>(
      "query ($id: ID!) { githubConnection(id: $id) { id status lastSyncedCommit lastError tool { connection { id } currentVersion { number source } } } }",
      { id: connectionId },
    )
  ).githubConnection;

interface Envelope {
  type: string;
  data: Record<string, unknown>;
}

/** The tool's events from now on, as both streams send them. */
async function followStreams() {
  const query = new URLSearchParams({ topics: "tool", tool_id: toolId });
  const headers = { authorization: `Bearer ${token}` };
  const [events, messages]: [Envelope[], Envelope[]] = [[], []];
  // What the streams under test send.
  const take = (list: Envelope[], text: string) => void list.push(JSON.parse(text) as Envelope);
  const source = new EventSource(`${toolyard.url}/events?${query.toString()}`, {
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
  });
  source.addEventListener("message", ({ data }) => take(events, String(data)));
  const socket = new WebSocket(`${toolyard.url.replace("http", "ws")}/ws`, { headers });
  socket.on("open", () => socket.send(JSON.stringify({ type: "subscribe", topics: ["tool"], tool_id: toolId })));
  socket.on("message", (data: Buffer) => take(messages, data.toString("utf8")));
  for (const list of [events, messages]) await expect.poll(() => list.map(({ type }) => type)).toEqual(["subscribed"]);
  return {
    events,
    socket: messages,
    [Symbol.dispose]() {
      source.close();
      socket.terminate();
    },
  };
}

async function syncs(): Promise<number> {
  const { tasks } = await graph().query<{ tasks: { totalCount: number } }>(
    "{ tasks(kind: REPOSITORY_SYNC) { totalCount } }",
  );
  return tasks.totalCount;
}

beforeAll(async () => {
  github = await startGitHubServer({
    "acme/weather": {
      main: { "toolyard.yaml": manifest(), "docs/one.md": "# One", "docs/two.md": "# Two", "a.ts": "" },
    },
    "acme/templates": { main: { "ours.yaml": "name: Ours\nlaunch: { stdio: { command: node } }" } },
  });
  toolyard = await startToolyard({
    env: {
      GITHUB_API_URL: github.url,
      GITHUB_TOKEN: "ghp_of_the_tests",
      GITHUB_WEBHOOK_SECRET: SECRET,
      TEMPLATE_REPOSITORY: "acme/templates",
    },
  });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const { createTool } = await graph().query<{ createTool: { id: string } }>(
    `mutation { createTool(input: { name: "Weather", description: "By hand", launch: { stdio: { command: "node" } } }) { id } }`,
  );
  toolId = createTool.id;
});
afterAll(async () => {
  await toolyard[Symbol.asyncDispose]();
  await github[Symbol.asyncDispose]();
});

describe("a tool that follows a repository", () => {
  test("is connected and synced by REST: a version with the commit, and documents", async () => {
    const connected = await rest("POST", "connect", { tool_id: toolId, owner: "acme", repository: "weather" });
    expect(connected).toMatchObject({ status: 201, body: { status: "CONNECTED", branch: "main", path: "" } });
    connectionId = connected.body["id"] ?? "";
    const queued = await rest("POST", `sync/${connectionId}`);
    expect(queued.status).toBe(202);
    const task = await ended(queued.body["task_id"] ?? "");
    const commitSha = github.commitOf("acme/weather", "main");
    expect(task).toMatchObject({
      kind: "REPOSITORY_SYNC",
      error: null,
      status: "SUCCEEDED",
      result: {
        commitSha,
        warnings: [],
        toolVersion: { number: 2, source: "GITHUB", commitSha },
        documents: [
          { title: "docs/one.md", content: "# One" },
          { title: "docs/two.md", content: "# Two" },
        ],
      },
    });
    expect(await connectionOf()).toMatchObject({
      status: "CONNECTED",
      lastSyncedCommit: commitSha,
      lastError: null,
      tool: { connection: { id: connectionId }, currentVersion: { number: 2 } },
    });
    expect((await rest("POST", "connect", { tool_id: toolId, owner: "acme", repository: "other" })).status).toBe(409);
  });

  test("has a new version after a signed push, which a subscription sees, and /events, and /ws", async () => {
    using streams = await followStreams();
    const client: Client = createClient({
      url: `${toolyard.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
    });
    const changes = client.iterate<{ toolChanged: { kind: string } }>({
      query: `subscription ($id: ID!) { toolChanged(id: $id, after: "0") { kind tool { currentVersion { number source } } } }`,
      variables: { id: toolId },
    });
    files()["toolyard.yaml"] = manifest("# changed\n").replace("From the repository", "Pushed");
    delete files()["docs/two.md"];
    const answer = await send(signedDelivery(SECRET, "push", push()));
    expect(answer.status).toBe(202);
    expect(await answer.json()).toMatchObject({ event: "push", accepted: true });
    let seen = 0;
    for await (const { data } of changes) if (data?.toolChanged.kind === "UPDATED" && ++seen === 2) break;
    const numbers = (events: Envelope[]) =>
      events.map(
        ({ type, data }) => type === "tool" && (data["tool"] as { version: { number: number } }).version.number,
      );
    for (const events of [streams.events, streams.socket]) await expect.poll(() => numbers(events)).toContain(3);
    const { tool } = await graph().query(
      "query ($id: ID!) { tool(id: $id) { description currentVersion { number source commitSha } } }",
      { id: toolId },
    );
    expect(tool).toEqual({
      description: "Pushed",
      currentVersion: { number: 3, source: "GITHUB", commitSha: github.commitOf("acme/weather", "main") },
    });
    const titles = async () => {
      const answered = await graph().query<{ tool: { documents: { edges: { node: { title: string } }[] } } }>(
        "query ($id: ID!) { tool(id: $id) { documents { edges { node { title } } } } }",
        { id: toolId },
      );
      return answered.tool.documents.edges.map(({ node }) => node.title);
    };
    await expect.poll(titles).toEqual(["docs/one.md"]);
    await client.dispose();
  });
});

describe("the webhook", () => {
  test.each([
    ["none", (headers: Record<string, string>) => delete headers["x-hub-signature-256"]],
    [
      "a truncated one",
      (headers: Record<string, string>) => {
        headers["x-hub-signature-256"] = headers["x-hub-signature-256"]?.slice(0, -1) ?? "";
      },
    ],
    [
      "a wrong one",
      (headers: Record<string, string>) => {
        headers["x-hub-signature-256"] = `sha256=${createHmac("sha256", "another").update("x").digest("hex")}`;
      },
    ],
    [
      "SHA-1's",
      (headers: Record<string, string>) => {
        headers["x-hub-signature-256"] = `sha1=${"0".repeat(40)}`;
      },
    ],
  ])("refuses a signature that is %s with 401, and nothing happens", async (_name, spoil) => {
    const before = await syncs();
    const delivery = signedDelivery(SECRET, "push", push());
    spoil(delivery.headers);
    const answer = await send(delivery);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([401, "application/problem+json"]);
    expect(await syncs()).toBe(before);
  });

  test("refuses a body that is not the one that was signed, before it is parsed", async () => {
    const delivery = signedDelivery(SECRET, "push", push());
    expect((await send({ ...delivery, body: `{${delivery.body}` })).status).toBe(401);
    expect((await send({ ...delivery, body: Buffer.from([0xff]) })).status).toBe(401);
  });

  test("takes a delivery once, however often and at once it comes", async () => {
    const before = await syncs();
    const delivery = signedDelivery(SECRET, "push", push());
    const answers = await Promise.all([send(delivery), send(delivery), send(delivery)]);
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202]);
    const accepted = await Promise.all(answers.map(async (answer) => (await answerOf(answer))["accepted"]));
    expect(accepted.filter(Boolean)).toHaveLength(1);
    expect((await send(delivery)).status).toBe(202);
    expect(await syncs()).toBe(before + 1);
  });

  test("accepts every event that GitHub documents, and none but a push of the branch has an effect", async () => {
    const before = await syncs();
    const events = [
      "ping",
      "branch_protection_configuration",
      "branch_protection_rule",
      "check_run",
      "check_suite",
      "code_scanning_alert",
      "commit_comment",
      "create",
      "custom_property",
      "custom_property_values",
      "delete",
      "dependabot_alert",
      "deploy_key",
      "deployment",
      "deployment_protection_rule",
      "deployment_review",
      "deployment_status",
      "discussion",
      "discussion_comment",
      "fork",
      "github_app_authorization",
      "gollum",
      "installation",
      "installation_repositories",
      "installation_target",
      "issue_comment",
      "issue_dependencies",
      "issues",
      "label",
      "marketplace_purchase",
      "member",
      "membership",
      "merge_group",
      "meta",
      "milestone",
      "org_block",
      "organization",
      "package",
      "page_build",
      "personal_access_token_request",
      "project",
      "project_card",
      "project_column",
      "projects_v2",
      "projects_v2_item",
      "projects_v2_status_update",
      "public",
      "pull_request",
      "pull_request_review",
      "pull_request_review_comment",
      "pull_request_review_thread",
      "registry_package",
      "release",
      "repository",
      "repository_advisory",
      "repository_dispatch",
      "repository_import",
      "repository_ruleset",
      "repository_vulnerability_alert",
      "secret_scanning_alert",
      "secret_scanning_alert_location",
      "secret_scanning_scan",
      "security_advisory",
      "security_and_analysis",
      "sponsorship",
      "star",
      "status",
      "sub_issues",
      "team",
      "team_add",
      "watch",
      "workflow_dispatch",
      "workflow_job",
      "workflow_run",
    ];
    const answers = await Promise.all(events.map((event) => send(signedDelivery(SECRET, event, { zen: "x" }))));
    expect(answers.filter(({ status }) => status !== 202)).toEqual([]);
    for (const other of [
      { ref: "refs/heads/other" },
      { ref: "refs/tags/main" },
      { repository: { full_name: "acme/else" } },
    ])
      expect((await send(signedDelivery(SECRET, "push", push([], other)))).status).toBe(202);
    expect(await syncs()).toBe(before);
  });

  test("takes a push as a form, which is GitHub's default", async () => {
    const before = await syncs();
    const body = new URLSearchParams({ payload: JSON.stringify(push()) }).toString();
    const { headers } = signedDelivery(SECRET, "push", {});
    headers["content-type"] = "application/x-www-form-urlencoded";
    headers["x-hub-signature-256"] = `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`;
    expect((await send({ headers, body })).status).toBe(202);
    expect(await syncs()).toBe(before + 1);
  });

  test("answers what is larger than GitHub sends with 413, and other methods with 405", async () => {
    const delivery = signedDelivery(SECRET, "push", {});
    const large = await send({ ...delivery, body: "x".repeat(25 * 1_048_576 + 1) });
    expect(large.status).toBe(413);
    const other = await fetch(`${toolyard.url}/api/v1/github/webhook`);
    expect([other.status, other.headers.get("allow")]).toEqual([405, "POST, OPTIONS"]);
  });
});

test("templates of a repository are listed by REST, and a push changes them", async () => {
  const nameOf = async () => {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${toolyard.url}/api/templates/ours/`, { headers });
    return response.status === 200 ? (await answerOf(response))["name"] : response.status;
  };
  await expect.poll(nameOf).toBe("Ours");
  Object.assign(github.repositories.get("acme/templates")?.["main"] ?? {}, {
    "ours.yaml": "name: Ours, pushed\nlaunch: { stdio: { command: node } }",
  });
  const payload = push(["ours.yaml"], { repository: { full_name: "acme/templates" } });
  expect((await send(signedDelivery(SECRET, "push", payload))).status).toBe(202);
  await expect.poll(nameOf).toBe("Ours, pushed");
});

test("a sync that cannot be done says what to do, and the tool can be disconnected", async () => {
  files()["toolyard.yaml"] = "launch: [";
  const failed = await ended((await rest("POST", `sync/${connectionId}`)).body["task_id"] ?? "");
  expect(failed).toMatchObject({ status: "FAILED", error: { code: "BAD_USER_INPUT" } });
  expect(await connectionOf()).toMatchObject({ status: "FAILED", lastError: failed.error?.message });
  expect(failed.error?.message).toContain("toolyard.yaml");
  expect((await rest("DELETE", `disconnect/${connectionId}`)).status).toBe(204);
  expect(await connectionOf()).toMatchObject({ status: "DISCONNECTED", lastError: null, tool: { connection: null } });
  expect((await rest("POST", `sync/${connectionId}`)).status).toBe(409);
  expect(toolyard.output()).not.toContain("ghp_of_the_tests");
  expect(toolyard.output()).not.toContain(SECRET);
});
