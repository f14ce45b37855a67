import { createHash } from "node:crypto";
import { ToolyardError, createServiceCaller, type GraphClient, type GraphRequest } from "@toolyard/service-kit";
import type { Task } from "@toolyard/tasks";
import { codeOf, dataOf, eventually, executeOn } from "@toolyard/testing";
import { signedDelivery, startGitHubServer, type GitHubServer } from "@toolyard/testing/github-server.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  CREATE,
  UPDATE,
  admin,
  createToolsFixture,
  developer,
  otherDeveloper,
  viewer,
  type ToolsFixture,
} from "../fixtures/subgraph.ts";

const WEBHOOK_SECRET = "a-webhook-secret-of-the-tests";
const gateway = createServiceCaller("gateway", ["internal:github-event"]);

interface StoredDocument {
  id: string;
  toolId: string;
  uploadedById: string | null;
  title: string;
  content: string;
  digest: string;
}

/** The knowledge subgraph as far as syncs ask it. */
function createKnowledge() {
  const documents = new Map<string, StoredDocument>();
  const digestOf = (content: string) => createHash("sha256").update(content).digest("hex");
  const state = {
    documents,
    /** Fails the next writes, in order. */
    failures: [] as ToolyardError[],
    changeByHand(title: string, content: string) {
      for (const document of documents.values())
        if (document.title === title) Object.assign(document, { content, digest: digestOf(content) });
    },
    titles: () => [...documents.values()].map(({ title }) => title).toSorted(),
    async query<Data>({ query, variables = {}, as }: GraphRequest): Promise<Data> {
      // As the three operations name them.
      const { input, id } = variables as { input: StoredDocument; id: string };
      if (query.startsWith("query"))
        return Object.fromEntries(
          Object.values(variables).map((each, index) => [`d${index}`, documents.get(String(each)) ?? null]),
        ) as Data;
      as.require("internal:sync-documents");
      const failure = state.failures.shift();
      if (failure) throw failure;
      if (query.includes("removeSyncedDocument")) return { removeSyncedDocument: documents.delete(id) } as Data;
      const stored = { ...documents.get(input.id), ...input, digest: digestOf(input.content) };
      documents.set(input.id, stored);
      return { storeSyncedDocument: stored } as Data;
    },
  } satisfies Pick<GraphClient, "query"> & Record<string, unknown>;
  return state;
}

let github: GitHubServer;
let knowledge: ReturnType<typeof createKnowledge>;
let fixture: ToolsFixture;
let files: Record<string, string | Buffer>;
let toolId: string;
let connectionId: string;

const manifest = (fields: object) => JSON.stringify({ knowledge: ["docs/*.md"], ...fields });
const launch = { stdio: { command: "node", args: ["/srv/server.js"] } };

const CONNECT = `mutation ($input: ConnectRepositoryInput!) { connectRepository(input: $input) { id status branch path } }`;
const SYNC = `mutation ($id: ID!) { syncRepository(connectionId: $id) { id } }`;
const DISCONNECT = `mutation ($id: ID!) { disconnectRepository(connectionId: $id) { id status } }`;
const TAKES = `{ takesGitHubEvents }`;
const RECEIVE = `mutation ($input: GitHubEventInput!) { receiveGitHubEvent(input: $input) }`;

beforeEach(async () => {
  files = { "toolyard.yaml": manifest({ name: "Weather", launch }), "docs/a.md": "a", "docs/b.md": "b" };
  github = await startGitHubServer({ "acme/weather": { main: files } });
  knowledge = createKnowledge();
  fixture = await createToolsFixture({
    env: { GITHUB_API_URL: github.url, GITHUB_TOKEN: "t", GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET },
    knowledge,
  });
  await fixture.subgraph.start();
  const input = { name: "By hand", description: "Kept", launch: { stdio: { command: "python3" } } };
  const { createTool } = await dataOf<{ createTool: { id: string } }>(fixture.subgraph, CREATE, { input }, developer);
  toolId = createTool.id;
  connectionId = await connect();
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
  await github[Symbol.asyncDispose]();
});

async function connect(more: object = {}): Promise<string> {
  const input = { toolId, owner: "acme", repository: "weather", ...more };
  const data = await dataOf<{ connectRepository: { id: string } }>(fixture.subgraph, CONNECT, { input }, developer);
  return data.connectRepository.id;
}

async function queue(): Promise<string> {
  const variables = { id: connectionId };
  const data = await dataOf<{ syncRepository: { id: string } }>(fixture.subgraph, SYNC, variables, developer);
  return data.syncRepository.id;
}

const taskOf = async (id: string): Promise<Task | null> => (await fixture.tasks.store.getMany([id]))[0] ?? null;

async function ended(id: string): Promise<Task> {
  return eventually("the sync's end", async () => {
    const task = await taskOf(id);
    return task && task.finishedAt !== null ? task : null;
  });
}

interface Report {
  commitSha: string;
  toolVersionId: string | null;
  documentIds: string[];
  warnings: string[];
}

async function sync(): Promise<Report> {
  const task = await ended(await queue());
  if (task.status !== "SUCCEEDED") throw new Error(task.error?.message);
  const [result] = await fixture.tasks.store.resultsOf([task.id]);
  // What syncs store.
  return result as Report;
}

const failure = async (): Promise<string> => {
  const { error } = await ended(await queue());
  return error?.message ?? "none";
};

interface SyncedTool {
  name: string;
  launch: unknown;
  currentVersion: { id: string; number: number; changeSummary: string };
  connection: { status: string; lastError: string | null };
}

async function tool(): Promise<SyncedTool> {
  const query = `query ($id: ID!) { tool(id: $id) { name description
    launch { ... on StdioLaunch { command env { name secret } } }
    currentVersion { id number source commitSha changeSummary createdById }
    connection { status lastError lastSyncedCommit } } }`;
  const data = await dataOf<{ tool: SyncedTool }>(fixture.subgraph, query, { id: toolId }, developer);
  return data.tool;
}

const update = (input: object) => dataOf(fixture.subgraph, UPDATE, { id: toolId, input }, developer);

const pushed = (payload: object = {}) => {
  const whole = { ref: "refs/heads/main", repository: { full_name: "acme/weather" }, ...payload };
  const { headers, body } = signedDelivery(WEBHOOK_SECRET, "push", whole);
  return {
    event: "push",
    deliveryId: headers["x-github-delivery"],
    signature: headers["x-hub-signature-256"],
    bodyBase64: Buffer.from(body).toString("base64"),
  };
};
const receive = async (input: object) =>
  (await dataOf<{ receiveGitHubEvent: boolean }>(fixture.subgraph, RECEIVE, { input }, gateway)).receiveGitHubEvent;
const syncs = async () => Object.values(await fixture.tasks.store.countByStatus()).reduce((sum, each) => sum + each, 0);

test.each([
  ["without a credential", {}, "Its operator sets GITHUB_TOKEN"],
  ["that the operator does not name", { GITHUB_TOKEN: "t", GITHUB_REPOSITORIES: "acme/other" }, "GITHUB_REPOSITORIES"],
])(
  "a repository %s can be connected, and the connection says at once that it is not read",
  async (_what, env, words) => {
    await using other = await createToolsFixture({ env: { GITHUB_API_URL: github.url, ...env }, knowledge });
    const input = { name: "Not read", description: "", launch: { stdio: { command: "python3" } } };
    const made = await dataOf<{ createTool: { id: string } }>(other.subgraph, CREATE, { input }, developer);
    const connecting = `mutation ($input: ConnectRepositoryInput!) { connectRepository(input: $input) { status lastError } }`;
    const place = { toolId: made.createTool.id, owner: "acme", repository: "weather" };
    expect(await dataOf(other.subgraph, connecting, { input: place }, developer)).toEqual({
      connectRepository: { status: "CONNECTED", lastError: expect.stringContaining(words) },
    });
  },
);

describe("a sync", () => {
  test("makes a version of the file's fields, and keeps those that it does not give", async () => {
    const report = await sync();
    const commitSha = github.commitOf("acme/weather", "main");
    const { currentVersion, connection, ...fields } = await tool();
    expect(fields).toMatchObject({ name: "Weather", description: "Kept", launch: { command: "node" } });
    expect(currentVersion).toMatchObject({ number: 2, source: "GITHUB", commitSha, createdById: developer.userId });
    expect(currentVersion.changeSummary).toContain("Changed name");
    expect(connection).toEqual({ status: "CONNECTED", lastError: null, lastSyncedCommit: commitSha });
    expect(report).toMatchObject({ commitSha, toolVersionId: currentVersion.id, warnings: [] });
  });

  test("that finds nothing new changes nothing", async () => {
    await sync();
    const asked = github.requests.length;
    expect(await sync()).toMatchObject({ toolVersionId: null, documentIds: [], warnings: [] });
    expect((await tool()).currentVersion.number).toBe(2);
    // No file's content but the manifest's.
    expect(github.requests.slice(asked).filter(({ query }) => query.includes("GitObjectID"))).toHaveLength(1);
  });

  test("stores files under ids that stay their path's, and removes those that are gone", async () => {
    await sync();
    const idOf = (title: string) => [...knowledge.documents.values()].find((each) => each.title === title)?.id;
    const [a, b] = [idOf("docs/a.md"), idOf("docs/b.md")];
    files["docs/a.md"] = "changed";
    delete files["docs/b.md"];
    files["docs/c.md"] = "new";
    expect((await sync()).documentIds).toEqual([a, idOf("docs/c.md")]);
    expect(knowledge.titles()).toEqual(["docs/a.md", "docs/c.md"]);
    expect(knowledge.documents.get(a ?? "")).toMatchObject({ content: "changed", uploadedById: developer.userId });
    expect(idOf("docs/b.md")).not.toBe(b);
  });

  test("leaves out with a warning what cannot be kept, and keeps the rest", async () => {
    files["docs/b.md"] = Buffer.from([0, 1]);
    knowledge.failures.push(new ToolyardError("BAD_USER_INPUT", "input.content: it is not good"));
    const { warnings } = await sync();
    expect(warnings).toEqual([
      expect.stringMatching(/docs\/a\.md was left out: .*not good/),
      expect.stringMatching(/docs\/b\.md was left out: it is no text/),
    ]);
    expect((await sync()).documentIds).toHaveLength(1);
  });

  test("goes on where the knowledge base was away, with the same report", async () => {
    knowledge.failures.push(new ToolyardError("UPSTREAM_UNAVAILABLE", "away", { retryAfterSeconds: 0 }));
    const report = await sync();
    expect(report.toolVersionId).toBe((await tool()).currentVersion.id);
    expect(knowledge.documents.size).toBe(2);
  });

  test("waits as long as GitHub asks, and says why", async () => {
    github.refusals.push({ status: 403, headers: { "retry-after": "3600" }, body: { message: "slow down" } });
    const id = await queue();
    await expect.poll(async () => (await taskOf(id))?.message).toContain("3600 s");
    expect((await taskOf(id))?.status).toBe("QUEUED");
    expect((await tool()).connection).toMatchObject({ status: "FAILED", lastError: expect.stringContaining("GitHub") });
    // Another request folds into the one that waits.
    expect(await queue()).toBe(id);
  });

  test.each([
    ["no file", () => delete files["toolyard.yaml"], "has no toolyard.yaml"],
    ["a file that is wrong", () => (files["toolyard.yaml"] = "nmae: x"), '"nmae"'],
    ["no repository", () => github.repositories.clear(), "no repository acme/weather"],
    ["an empty repository", () => github.repositories.set("acme/weather", {}), "is empty: push a commit first"],
    [
      "a branch that was renamed",
      () => github.repositories.set("acme/weather", { trunk: files }),
      'no branch "main". Its default branch is "trunk"',
    ],
    ["a refused token", () => github.refusals.push({ status: 401, body: {} }), "credential"],
  ])("with %s fails in words that say what to do", async (_name, spoil, words) => {
    spoil();
    expect(await failure()).toContain(words);
    expect((await tool()).connection).toMatchObject({ status: "FAILED", lastError: expect.stringContaining(words) });
  });

  test("keeps the values of secrets, which the file only names", async () => {
    const env = [{ name: "TOKEN", secret: true }];
    files["toolyard.yaml"] = manifest({ launch: { stdio: { command: "node", env } } });
    expect(await failure()).toContain('no secret "TOKEN" is stored');
    await update({ launch: { stdio: { command: "x", env: [{ name: "TOKEN", value: "s3cret", secret: true }] } } });
    expect((await sync()).warnings).toEqual([]);
    expect((await tool()).launch).toEqual({ command: "node", env });
  });

  test("survives the end of its process", async () => {
    const reached = Promise.withResolvers<void>();
    github.onQuery = () => {
      reached.resolve();
      return new Promise(() => undefined);
    };
    const id = await queue();
    await reached.promise;
    github.onQuery = null;
    await fixture.reopen();
    await fixture.subgraph.start();
    expect(await ended(id)).toMatchObject({ status: "SUCCEEDED" });
    expect((await tool()).connection.status).toBe("CONNECTED");
  });
});

describe("a sync acts for whoever connected the repository, with the rights that they have now:", () => {
  test.each([
    ["disabled", () => fixture.users.set("user-developer", { id: "user-developer", disabled: true }), "is disabled"],
    ["removed", () => fixture.users.delete("user-developer"), "is no longer there"],
    [
      "demoted",
      () => fixture.users.set("user-developer", { id: "user-developer", disabled: false, role: "VIEWER" }),
      "may not change this tool any more",
    ],
  ])(
    "once they are %s, it changes nothing and says what to do, until somebody else connects it",
    async (_n, spoil, words) => {
      const { documentIds } = await sync();
      spoil();
      files["toolyard.yaml"] = manifest({ name: "Later", launch });
      delete files["docs/a.md"];
      const { error, attempts } = await ended(await queue());
      expect(error).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining(words) });
      expect(error?.message).toContain("connects it again");
      expect(attempts).toBe(1);
      expect(await tool()).toMatchObject({
        name: "Weather",
        connection: { status: "FAILED", lastError: error?.message },
      });
      expect(knowledge.documents.size).toBe(2);
      await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, admin);
      const input = { toolId, owner: "acme", repository: "weather" };
      await dataOf(fixture.subgraph, CONNECT, { input }, admin);
      await sync();
      expect(await tool()).toMatchObject({ name: "Later", connection: { status: "CONNECTED", lastError: null } });
      expect([...knowledge.documents.keys()]).toEqual([documentIds[1]]);
    },
  );

  test("an administrator who is a developer now syncs other people's tools no longer", async () => {
    await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, admin);
    const input = { toolId, owner: "acme", repository: "weather" };
    await dataOf(fixture.subgraph, CONNECT, { input }, admin);
    await sync();
    fixture.users.set("user-admin", { id: "user-admin", disabled: false, role: "DEVELOPER" });
    expect(await failure()).toContain("may not change this tool any more");
    fixture.users.set("user-admin", { id: "user-admin", disabled: false, role: "ADMIN" });
    await sync();
  });
});

describe("a repository that changes under its connection", () => {
  test("by another name or owner is followed to it, by pushes as well", async () => {
    await sync();
    const branches = github.repositories.get("acme/weather") ?? {};
    github.repositories.delete("acme/weather");
    github.repositories.set("acme-labs/forecast", branches);
    github.renames.set("acme/weather", "acme-labs/forecast");
    expect((await sync()).warnings).toEqual([expect.stringContaining("is acme-labs/forecast now")]);
    expect((await sync()).warnings).toEqual([]);
    expect(knowledge.documents.size).toBe(2);
    const before = await syncs();
    await receive(pushed({ repository: { full_name: "acme-labs/forecast" } }));
    expect(await syncs()).toBe(before + 1);
  });

  test.each([
    ["was deleted or made private", () => github.repositories.clear(), "no repository acme/weather"],
    ["is empty now", () => github.repositories.set("acme/weather", {}), "is empty"],
    ["has no toolyard.yaml any more", () => delete files["toolyard.yaml"], "Add one"],
    [
      "has its toolyard.yaml in another case",
      () => {
        files["Toolyard.yml"] = files["toolyard.yaml"] ?? "";
        delete files["toolyard.yaml"];
      },
      "Rename Toolyard.yml",
    ],
    [
      "costs the credential",
      () => github.refusals.push({ status: 401, body: { message: "Bad credentials" } }),
      "operator",
    ],
  ])("and %s keeps its documents, and says what to do", async (_name, spoil, words) => {
    await sync();
    spoil();
    const task = await ended(await queue());
    expect(task.error?.message).toContain(words);
    expect(await tool()).toMatchObject({ name: "Weather", connection: { status: "FAILED" } });
    expect(knowledge.documents.size).toBe(2);
  });

  test.each<[string, (query: string) => boolean]>([
    ["its files are listed", (query) => query.includes("entries")],
    ["they are read", (query) => query.includes("isTruncated")],
  ])("by a force-push while %s loses nothing: it is read again", async (_name, isNow) => {
    await sync();
    let isDone = false;
    github.onQuery = (query) => {
      if (isDone || !isNow(query)) return;
      isDone = true;
      github.repositories.set("acme/weather", {
        main: { "toolyard.yaml": manifest({ name: "Rewritten" }), "docs/c.md": "c" },
      });
    };
    files["toolyard.yaml"] = manifest({ name: "Lost" });
    await sync();
    expect((await tool()).name).toBe("Rewritten");
    expect(knowledge.titles()).toEqual(["docs/c.md"]);
  });

  test.each([
    ["a 502 with a page", { status: 502, headers: { "content-type": "text/html" }, body: "<html>Bad gateway</html>" }],
    ["a page with 200", { status: 200, headers: { "content-type": "text/html" }, body: "<html>Log in</html>" }],
    [
      "half an answer",
      {
        status: 200,
        body: {
          data: { repository: { object: null } },
          errors: [{ message: "Something went wrong", path: ["repository"] }],
        },
      },
    ],
  ])("answered by %s is asked again, and nothing is lost", async (_name, refusal) => {
    await sync();
    github.refusals.push(refusal);
    await sync();
    expect(knowledge.documents.size).toBe(2);
    expect((await tool()).connection).toMatchObject({ status: "CONNECTED", lastError: null });
  });
});

test("files that cannot be documents are left out with the reason, and links and submodules are none", async () => {
  files["toolyard.yaml"] = manifest({ name: "Weather", launch, knowledge: ["docs"] });
  Object.assign(github.repositories.get("acme/weather")?.["main"] ?? {}, {
    "docs/huge.md": "x".repeat(5 * 1_048_576 + 1),
    "docs/cut.md": { kind: "truncated", content: "half" },
    "docs/logo.png": Buffer.from([0, 1, 2]),
    "docs/lfs.md": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "docs/link.md": { kind: "symlink", content: "../../../etc/passwd" },
    "docs/module": { kind: "submodule", content: "abc" },
  });
  const { warnings } = await sync();
  expect(knowledge.titles()).toEqual(["docs/a.md", "docs/b.md"]);
  expect(warnings.toSorted()).toEqual([
    expect.stringMatching(/^docs\/cut.md was left out: .*too large/),
    expect.stringMatching(/^docs\/huge.md was left out: .*5 MiB/),
    expect.stringMatching(/^docs\/lfs.md was left out: .*LFS/),
    expect.stringMatching(/^docs\/logo.png was left out: .*no text/),
  ]);
});

describe("a change by hand", () => {
  test("of the tool stays and is told of, until the file changes", async () => {
    await sync();
    await update({ name: "By hand again" });
    const kept = await sync();
    expect(kept).toMatchObject({ toolVersionId: null, warnings: [expect.stringContaining("Changed name by hand")] });
    expect((await tool()).name).toBe("By hand again");
    expect((await sync()).warnings).toHaveLength(1);
    files["toolyard.yaml"] = manifest({ name: "Weather 2", launch });
    expect((await sync()).warnings).toEqual([
      expect.stringContaining("replaced what was changed by hand up to version 3"),
    ]);
    expect((await tool()).name).toBe("Weather 2");
    expect((await sync()).warnings).toEqual([]);
  });

  test("of what the file does not give is nobody's business", async () => {
    await sync();
    await update({ description: "Mine", tags: ["mine"] });
    expect((await sync()).warnings).toEqual([]);
  });

  test("of a document stays and is told of, until its file changes", async () => {
    await sync();
    knowledge.changeByHand("docs/a.md", "mine");
    expect((await sync()).warnings).toEqual([expect.stringContaining("docs/a.md was changed by hand")]);
    files["docs/a.md"] = "theirs";
    expect((await sync()).warnings).toEqual([expect.stringContaining("docs/a.md changed, so it replaced")]);
    expect([...knowledge.documents.values()].map(({ content }) => content).toSorted()).toEqual(["b", "theirs"]);
  });

  test("a document that was removed by hand stays away, until its file changes", async () => {
    await sync();
    knowledge.documents.clear();
    expect((await sync()).warnings).toHaveLength(2);
    expect(knowledge.titles()).toEqual([]);
    files["docs/a.md"] = "theirs";
    await sync();
    expect(knowledge.titles()).toEqual(["docs/a.md"]);
  });
});

describe("syncs of one connection", () => {
  test("go one at a time, and pushes meanwhile fold into one more", async () => {
    const hold = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    let running = 0;
    github.onQuery = (query) => {
      if (!query.includes("ToolyardHead")) return undefined;
      running++;
      reached.resolve();
      return hold.promise;
    };
    const first = await queue();
    await reached.promise;
    for (let n = 0; n < 5; n++) expect(await receive(pushed())).toBe(true);
    expect(await syncs()).toBe(2);
    const second = await queue();
    expect(second).not.toBe(first);
    expect(running).toBe(1);
    hold.resolve();
    expect((await ended(second)).status).toBe("SUCCEEDED");
    expect((await taskOf(first))?.status).toBe("SUCCEEDED");
    expect(running).toBe(2);
  });

  test("end with the connection, which can be had again", async () => {
    await sync();
    const reached = Promise.withResolvers<void>();
    github.onQuery = () => {
      reached.resolve();
      return new Promise(() => undefined);
    };
    const id = await queue();
    await reached.promise;
    github.onQuery = null;
    await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, developer);
    expect((await ended(id)).status).toBe("CANCELLED");
    expect(await codeOf(fixture.subgraph, SYNC, { id: connectionId }, developer)).toBe("CONFLICT");
    await receive(pushed());
    expect(await syncs()).toBe(2);
    expect(await connect()).toBe(connectionId);
    await sync();
    expect(knowledge.documents.size).toBe(2);
  });
});

describe("a push", () => {
  test("that touches nothing in the connection's folder queues nothing", async () => {
    await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, developer);
    files["server/toolyard.yaml"] = manifest({ name: "In a folder" });
    files["server/docs/x.md"] = "x";
    connectionId = await connect({ path: "/server/" });
    const commit = (path: string) => ({ added: [], removed: [], modified: [path] });
    await receive(pushed({ commits: [commit("docs/a.md"), commit("server.md")] }));
    expect(await syncs()).toBe(0);
    for (const payload of [
      { commits: [commit("docs/a.md"), commit("server/docs/x.md")] },
      { commits: [commit("docs/a.md")], forced: true },
      { commits: [] },
    ]) {
      const before = await syncs();
      await receive(pushed(payload));
      expect(await syncs()).toBe(before + 1);
      await eventually("quiet", async () => (await fixture.tasks.store.countByStatus()).SUCCEEDED === before + 1);
    }
    expect(await tool()).toMatchObject({ name: "In a folder" });
    expect(knowledge.titles()).toEqual(["docs/x.md"]);
  });

  test("whose handling failed is handled when it comes again", async () => {
    const delivery = pushed({ repository: { full_name: 7 } });
    expect(await codeOf(fixture.subgraph, RECEIVE, { input: delivery }, gateway)).toBe("BAD_USER_INPUT");
    expect(await codeOf(fixture.subgraph, RECEIVE, { input: delivery }, gateway)).toBe("BAD_USER_INPUT");
  });

  test("is taken of the gateway only, and with a secret only", async () => {
    const input = pushed();
    expect(await codeOf(fixture.subgraph, RECEIVE, { input }, admin)).toBe("FORBIDDEN");
    expect(await codeOf(fixture.subgraph, TAKES, {}, admin)).toBe("FORBIDDEN");
    expect(await dataOf(fixture.subgraph, TAKES, {}, gateway)).toEqual({ takesGitHubEvents: true });
    const { signature } = pushed({ other: true });
    expect(await codeOf(fixture.subgraph, RECEIVE, { input: { ...input, signature } }, gateway)).toBe(
      "UNAUTHENTICATED",
    );
    await using without = await createToolsFixture();
    expect(await codeOf(without.subgraph, RECEIVE, { input }, gateway)).toBe("PRECONDITION_FAILED");
    expect(await codeOf(without.subgraph, TAKES, {}, gateway)).toBe("PRECONDITION_FAILED");
  });

  test("for a deleted tool queues nothing", async () => {
    await dataOf(fixture.subgraph, "mutation ($id: ID!) { deleteTool(id: $id) { id } }", { id: toolId }, developer);
    expect(await receive(pushed())).toBe(true);
    expect(await syncs()).toBe(0);
  });
});

describe("a connection", () => {
  test("is made, synced and ended by who may change the tool", async () => {
    for (const caller of [otherDeveloper, viewer]) {
      const input = { toolId, owner: "acme", repository: "else" };
      expect(await codeOf(fixture.subgraph, CONNECT, { input }, caller)).toBe("FORBIDDEN");
      expect(await codeOf(fixture.subgraph, SYNC, { id: connectionId }, caller)).toBe("FORBIDDEN");
      expect(await codeOf(fixture.subgraph, DISCONNECT, { id: connectionId }, caller)).toBe("FORBIDDEN");
    }
    expect(await codeOf(fixture.subgraph, SYNC, { id: "none" }, developer)).toBe("NOT_FOUND");
    await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, admin);
    await dataOf(fixture.subgraph, DISCONNECT, { id: connectionId }, admin);
    const query = "query ($id: ID!) { githubConnection(id: $id) { status tool { id connection { id } } } }";
    const answer = await dataOf(fixture.subgraph, query, { id: connectionId }, viewer);
    expect(answer).toEqual({ githubConnection: { status: "DISCONNECTED", tool: { id: toolId, connection: null } } });
  });

  test.each([
    ["owner", "a/b"],
    ["owner", "-x"],
    ["repository", ".."],
    ["repository", "a b"],
    ["branch", "a..b"],
    ["branch", "a b"],
    ["path", "../x"],
    ["path", "a//b"],
  ])("with the %s %s is refused by its place", async (field, value) => {
    const input = { toolId, owner: "acme", repository: "weather", [field]: value };
    const { errors } = await executeOn(fixture.subgraph, CONNECT, { input }, developer);
    expect(errors[0]).toMatchObject({ code: "BAD_USER_INPUT", message: expect.stringContaining(`input.${field}`) });
  });

  test("is one for a tool", async () => {
    const input = { toolId, owner: "acme", repository: "else" };
    expect(await codeOf(fixture.subgraph, CONNECT, { input }, developer)).toBe("CONFLICT");
  });
});
