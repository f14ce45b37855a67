import { createUserCaller, newId, type Caller } from "@toolyard/service-kit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { admin, author, createFixture, proxy, type FakeTool, type Fixture } from "../deployments-fixture.ts";
import { labelSeenBy, partiesOf, partyOf } from "./usage-parties.ts";
import { call } from "./usage-fixture.ts";

const other = createUserCaller("other-1", "DEVELOPER");
const viewer = createUserCaller("viewer-1", "VIEWER");
const PARTIES = `usage(window: HOUR) {
  byUser { userId isRest calls errors mcpFailures p95Ms } byClient { name version apiKeyId isRest calls errors }
}`;

interface Parties {
  byUser: { userId: string | null; isRest: boolean; calls: number; errors: number; p95Ms: number }[];
  byClient: { name: string | null; version: string | null; apiKeyId: string | null; calls: number }[];
}

async function used(fixture: Fixture): Promise<string> {
  const { deployTool } = await fixture.run<{ deployTool: { id: string } }>(
    'mutation { deployTool(input: { toolId: "tool-1" }) { id } }',
  );
  const { at: _at, ...some } = call({ deploymentId: deployTool.id });
  const record = (more: object) => ({ ...some, at: new Date().toISOString(), ...more });
  const client = { name: "claude", version: "1.2" };
  const records = [
    record({ userId: "other-1", client }),
    record({ userId: "other-1", client, statusCode: 500, responseTimeMs: 100 }),
    record({ userId: "viewer-1", apiKeyId: "key-1" }),
    record({ userId: "author-1", apiKeyId: "key-2", client }),
    record({ userId: "author-1", apiKeyId: "key-2" }),
    record({ userId: "author-1" }),
  ];
  const batch = { id: newId(), records };
  await fixture.run("mutation ($batch: UsageBatchInput!) { recordUsage(batch: $batch) }", { batch }, proxy);
  return deployTool.id;
}

async function partiesSeen(fixture: Fixture, id: string, caller: Caller): Promise<Parties> {
  const { deployment, _entities } = await fixture.run<{
    deployment: { usage: Parties };
    _entities: [{ usage: Parties }];
  }>(
    `query ($id: ID!) {
      deployment(id: $id) { ${PARTIES} }
      _entities(representations: [{ __typename: "Tool", id: "tool-1" }]) { ... on Tool { ${PARTIES} } }
    }`,
    { id },
    caller,
  );
  expect(_entities[0].usage).toEqual(deployment.usage);
  return deployment.usage;
}

test("usage is told by user and by client to those who may see a deployment's logs", async () => {
  const tool: FakeTool = { slug: "weather" };
  await using fixture = await createFixture({ tools: { "tool-1": tool } });
  const id = await used(fixture);
  const all = await partiesSeen(fixture, id, author);
  expect(all.byUser).toEqual([
    { userId: "author-1", isRest: false, calls: 3, errors: 0, mcpFailures: 0, p95Ms: expect.closeTo(10, 0) },
    { userId: "other-1", isRest: false, calls: 2, errors: 1, mcpFailures: 0, p95Ms: expect.closeTo(100, -1) },
    { userId: "viewer-1", isRest: false, calls: 1, errors: 0, mcpFailures: 0, p95Ms: expect.closeTo(10, 0) },
  ]);
  const nobody = { name: null, version: null, isRest: false, errors: 0 };
  expect(all.byClient).toHaveLength(4);
  expect(all.byClient[0]).toEqual({ ...nobody, name: "claude", version: "1.2", apiKeyId: null, calls: 3, errors: 1 });
  expect(all.byClient).toEqual(
    expect.arrayContaining([null, "key-1", "key-2"].map((apiKeyId) => ({ ...nobody, apiKeyId, calls: 1 }))),
  );
  expect(await partiesSeen(fixture, id, admin)).toEqual(all);
  tool.shared = { "other-1": "VIEW" };
  expect(await partiesSeen(fixture, id, other)).toEqual(all);
});

test.each([
  ["another developer", other, 2],
  ["a viewer", viewer, 1],
  ["somebody who never called", createUserCaller("third-1", "DEVELOPER"), 0],
])("%s sees their own calls, of all others neither users nor API keys", async (_who, caller, calls) => {
  await using fixture = await createFixture();
  const id = await used(fixture);
  const { byUser, byClient } = await partiesSeen(fixture, id, caller);
  expect(byUser.map((each) => [each.userId, each.calls])).toEqual(calls === 0 ? [] : [[caller.userId, calls]]);
  expect(byClient.map(({ name, apiKeyId, calls: count }) => [name, apiKeyId, count])).toEqual([
    [null, null, 3],
    ["claude", null, 3],
  ]);
  const { usageRecords } = await fixture.run<{
    usageRecords: { totalCount: number; edges: { node: { userId: string | null; user: object | null } }[] };
  }>("{ usageRecords(first: 10) { totalCount edges { node { userId user { id } } } } }", {}, caller);
  const seen = usageRecords.edges.flatMap(({ node }) => (node.user === null ? [] : [node.userId]));
  expect(usageRecords.totalCount).toBe(6);
  expect(seen).toEqual(Array.from({ length: calls }, () => caller.userId));
  expect(usageRecords.edges.every(({ node }) => (node.user === null) === (node.userId === null))).toBe(true);
});

test("labels are told apart and read again, whatever clients call themselves", () => {
  const said = fc.string({ unit: "binary", maxLength: 300 });
  const nullable = fc.option(said);
  const made = fc.record({
    userId: fc.option(fc.string({ maxLength: 64 })),
    client: fc.option(fc.record({ name: said, version: said })),
    apiKeyId: nullable,
  });
  fc.assert(
    fc.property(made, (who) => {
      const [user, client] = partiesOf({ ...who } as Parameters<typeof partiesOf>[0]);
      expect(partyOf(user)).toEqual({ kind: "USER", userId: who.userId });
      const party = partyOf(client);
      if (who.client === null) expect(party).toEqual({ kind: "CLIENT", client: null, apiKeyId: who.apiKeyId });
      else {
        expect(party).toMatchObject({ kind: "CLIENT", client: { name: expect.any(String) }, apiKeyId: null });
        expect(client.length).toBeLessThanOrEqual(255);
      }
      const stranger = { userId: "a stranger".repeat(9), mayInspect: false };
      expect(labelSeenBy(stranger, user)).toBeNull();
      expect(labelSeenBy({ ...stranger, mayInspect: true }, user)).toBe(user);
    }),
  );
});
