import { createUserCaller, type Caller, type GraphClient, type ShareAccess } from "@toolyard/service-kit";
import { executeOn } from "@toolyard/testing";
import { expect, test } from "vitest";
import { admin, author, createFakeGraph, createFixture, type FakeTool, type Fixture } from "./deployments-fixture.ts";

const other = createUserCaller("other-1", "DEVELOPER");
const viewer = createUserCaller("viewer-1", "VIEWER");
const DEPLOY = 'mutation { deployTool(input: { toolId: "tool-1" }) { id } }';
const LOGS = "query ($id: ID!) { deployment(id: $id) { logs { text } } }";
const FOLLOW_LOGS = "subscription ($id: ID!) { deploymentLogs(deploymentId: $id) { text } }";

async function deployed(fixture: Fixture, caller: Caller = author): Promise<string> {
  return (await fixture.run<{ deployTool: { id: string } }>(DEPLOY, {}, caller)).deployTool.id;
}

/** What the caller may do, by name; each on a deployment of its own. */
async function allowed(fixture: Fixture, caller: Caller): Promise<string[]> {
  const attempts: Record<string, string> = {
    scale: "mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }",
    restart: "mutation ($id: ID!) { restartDeployment(id: $id) { id } }",
    check: "mutation ($id: ID!) { checkDeploymentHealth(id: $id) { status } }",
    logs: LOGS,
    stop: "mutation ($id: ID!) { stopDeployment(id: $id) { id } }",
    // Last: it takes the place of the one before.
    deploy: DEPLOY,
  };
  const id = await deployed(fixture);
  const may: string[] = [];
  for (const [name, operation] of Object.entries(attempts)) {
    const code = await fixture.codeOf(operation, operation === DEPLOY ? {} : { id }, caller);
    if (code === null) may.push(name);
    else expect(code).toBe("FORBIDDEN");
  }
  return may;
}

const all = ["scale", "restart", "check", "logs", "stop", "deploy"];
test.each<[string, ShareAccess | null, string[], Caller]>([
  ["the author", null, all, author],
  ["an administrator", null, all, admin],
  ["another developer", null, [], other],
  ["another developer", "VIEW", ["logs"], other],
  ["another developer", "USE", ["logs"], other],
  ["another developer", "EDIT", all, other],
  ["a viewer", "EDIT", [], viewer],
  ["the author as a viewer", null, [], createUserCaller("author-1", "VIEWER")],
  ["another developer's reading key", "EDIT", ["logs"], createUserCaller("other-1", "DEVELOPER", ["READ"])],
  ["another developer's calling key", "EDIT", [], createUserCaller("other-1", "DEVELOPER", ["INVOKE"])],
])("%s with a share of %s may do %j", async (_name, access, expected, caller) => {
  const tool: FakeTool = { slug: "weather" };
  await using fixture = await createFixture({ tools: { "tool-1": tool } });
  if (access !== null) tool.shared = { [caller.userId ?? ""]: access };
  expect(await allowed(fixture, caller)).toEqual(expected);
});

test("one who deployed by a share does nothing with the deployment after it has ended", async () => {
  const tool: FakeTool = { slug: "weather", shared: { "other-1": "EDIT" } };
  await using fixture = await createFixture({ tools: { "tool-1": tool } });
  const id = await deployed(fixture, other);
  delete tool.shared;
  expect(await fixture.codeOf(LOGS, { id }, other)).toBe("FORBIDDEN");
  expect(await fixture.codeOf("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id }, other)).toBe(
    "FORBIDDEN",
  );
});

test("a deployment is stopped again where the share ended while it was made", async () => {
  const tool: FakeTool = { slug: "weather", shared: { "other-1": "EDIT" } };
  const graph = createFakeGraph({ "tool-1": tool });
  await using fixture = await createFixture({
    tools: { "tool-1": tool },
    overrides: {
      graph: {
        ...graph,
        async query<Data>(request: Parameters<GraphClient["query"]>[0]) {
          const answer = await graph.query<Data>(request);
          // After the first look.
          if (request.query.includes("sharedAccess")) delete tool.shared;
          return answer;
        },
      },
    },
  });
  expect(await fixture.codeOf(DEPLOY, {}, other)).toBe("FORBIDDEN");
  const { deployments } = await fixture.run<{ deployments: { edges: { node: { events: { edges: unknown[] } } }[] } }>(
    "{ deployments { edges { node { events(first: 5) { edges { node { kind message } } } } } } }",
  );
  const events = JSON.stringify(deployments.edges[0]?.node.events);
  expect(events).toContain("was asked to stop: its tool is not shared any more with the user who deployed it");
});

test("a log that is followed by a share ends with it, and not when another user's ends", async () => {
  const tool: FakeTool = { slug: "weather", shared: { "other-1": "VIEW", "third-1": "VIEW" } };
  const ending = new Map([
    ["third-1", Promise.withResolvers<void>()],
    ["other-1", Promise.withResolvers<void>()],
  ]);
  const graph: GraphClient = {
    ...createFakeGraph({ "tool-1": tool }),
    async *subscribe<Data>() {
      for (const [userId, { promise }] of ending) {
        await promise;
        yield { sharesChanged: { sequence: "1", toolId: "tool-1", userId, access: null } } as Data;
      }
    },
  };
  await using fixture = await createFixture({ tools: { "tool-1": tool }, overrides: { graph } });
  const id = await deployed(fixture);
  await expect.poll(() => fixture.runtime.running().length).toBe(1);
  await using lines = await fixture.stream<{ deploymentLogs: { text: string } }>(FOLLOW_LOGS, { id }, other);
  const print = setInterval(() => fixture.runtime.print(fixture.runtime.running()[0]?.name ?? "", "hello"), 10);
  try {
    expect((await lines.next()).value?.data.deploymentLogs.text).toBe("hello");
    delete tool.shared?.["third-1"];
    ending.get("third-1")?.resolve();
    expect((await lines.next()).value?.data.deploymentLogs.text).toBe("hello");
    delete tool.shared;
    ending.get("other-1")?.resolve();
    await expect(
      (async () => {
        for (;;) if ((await lines.next()).done) return;
      })(),
    ).rejects.toThrow("belongs to somebody else");
  } finally {
    clearInterval(print);
  }
});

test("while shares cannot be read, those who need one are told when to try again, also in a stream that goes by one; others go on", async () => {
  const tool: FakeTool = { slug: "weather", shared: { "other-1": "EDIT" } };
  const fake = createFakeGraph({ "tool-1": tool });
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => undefined);
  let isAway = false;
  const graph: GraphClient = {
    query: async (request) => {
      if (isAway && request.query.includes("sharedAccess")) throw new Error("The tools service does not answer.");
      return fake.query(request);
    },
    async *subscribe() {
      yield await broken.promise;
    },
  };
  await using fixture = await createFixture({ tools: { "tool-1": tool }, overrides: { graph } });
  const id = await deployed(fixture);
  await using followed = await fixture.stream(FOLLOW_LOGS, { id }, other);
  const next = followed.next();
  isAway = true;
  const later = { extensions: expect.objectContaining({ code: "UPSTREAM_UNAVAILABLE", retryAfterSeconds: 5 }) };
  const RESTART = "mutation ($id: ID!) { restartDeployment(id: $id) { id } }";
  for (const operation of [LOGS, RESTART, DEPLOY]) {
    const { errors } = await executeOn(fixture.subgraph, operation, { id }, other);
    expect(errors[0]).toMatchObject(later);
  }
  broken.reject(new Error("The stream of shares broke."));
  await expect(next).rejects.toMatchObject(later);
  expect(await fixture.codeOf(RESTART, { id }, author)).toBeNull();
  expect(await fixture.codeOf(RESTART, { id }, viewer)).toBe("FORBIDDEN");
});
