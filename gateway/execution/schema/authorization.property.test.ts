import fc from "fast-check";
import { parse } from "graphql";
import { describe, expect, test } from "vitest";
import { anonymous, createUserCaller } from "@toolyard/service-kit";
import { createExecutor, type Executor } from "../executor.ts";
import { composeFixture } from "../fixtures/compose.ts";
import { generateOperation } from "../fixtures/operations.ts";
import { createHivePlanner } from "../planning/hive-planner.ts";
import { createInProcessClient } from "../clients/in-process-client.ts";
import { createLocalPlanner } from "../fixtures/local-planner.ts";
import type { OperationContext, SubgraphClient } from "../clients/subgraph-client.ts";

const ada = { id: "u1", name: "Ada", email: "SECRET", salary: 7, notes: ["SECRET"], vault: { code: "SECRET" } };
const staff = { ...ada, __typename: "Staff", badge: "SECRET" };
const guest = { id: "g1", __typename: "Guest", name: "Gus", badge: "visitor" };

/** Every kind of place for a demand: fields, types, implementations of an interface, a subgraph's part of a type, root fields. */
const { supergraphSdl, schemas } = composeFixture({
  people: {
    typeDefs: `
      type Query { me: User people: [Person!]! staff: [Staff!] audit: String! @requiresScopes(scopes: [["audit"], ["admin", "read"]]) open: String policed: String @policy(policies: [["vip"]]) }
      type Mutation { promote(id: ID!): User @authenticated }
      interface Person { id: ID! name: String badge: String }
      type User @key(fields: "id") { id: ID! name: String email: String @authenticated notes: [String!]! @requiresScopes(scopes: [["notes"]]) vault: Vault friends: [User!] }
      type Vault @requiresScopes(scopes: [["vault"]]) { code: String! }
      type Staff implements Person { id: ID! name: String badge: String @authenticated }
      type Guest implements Person { id: ID! name: String badge: String }
    `,
    resolvers: {
      Query: {
        me: () => ada,
        people: () => [staff, guest],
        staff: () => [staff],
        audit: () => "SECRET",
        open: () => "open",
        policed: () => "SECRET",
      },
      Mutation: { promote: () => ada },
      User: { friends: () => [ada, ada] },
      Person: { __resolveType: ({ __typename }: { __typename: string }) => __typename },
    },
  },
  money: {
    typeDefs: `type User @key(fields: "id") { id: ID! salary: Int @requiresScopes(scopes: [["money"]]) }`,
    resolvers: { User: { salary: () => 424_242 } },
  },
});

function createSubject(): { executor: Executor; asked: string[] } {
  const asked: string[] = [];
  const clients = [...schemas].map(([name, schema]) => {
    const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
    return {
      ...client,
      execute(request) {
        asked.push(name);
        return client.execute(request);
      },
    } satisfies SubgraphClient;
  });
  const planner = createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] });
  return { executor: createExecutor({ supergraphSdl, clients, planner }), asked };
}

const nobody: OperationContext = { caller: anonymous, requestId: "r" };
const user = (scopes: string[] = [], policies: string[] = []): OperationContext => ({
  caller: createUserCaller("u1", "VIEWER", []),
  requestId: "r",
  scopes,
  policies,
});

describe("what the supergraph demands of callers", () => {
  const { executor, asked } = createSubject();
  const run = async (query: string, context: OperationContext) =>
    JSON.parse(JSON.stringify(await executor.execute({ query, context }))) as unknown;
  const denied = (...paths: string[][]) =>
    paths.map((path) => ({
      message: "Unauthorized field or type",
      path,
      extensions: { code: "UNAUTHORIZED_FIELD_OR_TYPE" },
    }));

  test("a field that asks for a caller is null for nobody, with one error, and there for a user", async () => {
    const query = "{ me { name mail: email friends { email } } }";
    expect(await run(query, nobody)).toEqual({
      data: { me: { name: "Ada", mail: null, friends: [{ email: null }, { email: null }] } },
      errors: denied(["me", "mail"], ["me", "friends", "@", "email"]),
    });
    expect(await run(query, user())).toMatchObject({ data: { me: { mail: "SECRET" } } });
  });

  test("one of several sets of scopes is enough, all of a set is needed", async () => {
    expect(await run("{ audit }", user(["admin"]))).toEqual({ data: null, errors: denied(["audit"]) });
    expect(await run("{ audit }", user(["admin", "read"]))).toEqual({ data: { audit: "SECRET" } });
    expect(await run("{ audit }", user(["audit"]))).toEqual({ data: { audit: "SECRET" } });
  });

  test("policies are those given for the operation", async () => {
    expect(await run("{ policed }", user(["vip"]))).toEqual({ data: { policed: null }, errors: denied(["policed"]) });
    expect(await run("{ policed }", user([], ["vip"]))).toEqual({ data: { policed: "SECRET" } });
  });

  test("a field whose type is not for the caller is not either", async () => {
    expect(await run("{ me { vault { code } } }", user())).toEqual({
      data: { me: { vault: null } },
      errors: denied(["me", "vault"]),
    });
  });

  test("a null that may not be goes up to where one may", async () => {
    expect(await run("{ open me { notes } }", user())).toEqual({
      data: { open: "open", me: null },
      errors: denied(["me", "notes"]),
    });
  });

  test("a field of an interface asks for what any implementation asks; one implementation's own is its own", async () => {
    expect(await run("{ people { name badge } }", nobody)).toEqual({
      data: {
        people: [
          { name: "Ada", badge: null },
          { name: "Gus", badge: null },
        ],
      },
      errors: denied(["people", "@", "badge"]),
    });
    expect(await run("{ people { ... on Guest { badge } } }", nobody)).toEqual({
      data: { people: [{}, { badge: "visitor" }] },
    });
  });

  test("a subgraph that has only what the caller may not have is not asked", async () => {
    asked.splice(0);
    await run("{ me { name salary } }", user());
    expect(asked).toEqual(["people"]);
    asked.splice(0);
    expect(await run("{ me { salary } }", user(["money"]))).toEqual({ data: { me: { salary: 424_242 } } });
    expect(asked).toEqual(["people", "money"]);
  });

  test("a mutation that is not for the caller does not run", async () => {
    asked.splice(0);
    expect(await run(`mutation { promote(id: "u1") { name } }`, nobody)).toEqual({
      data: { promote: null },
      errors: denied(["promote"]),
    });
    expect(asked).toEqual([]);
  });
});

test("nothing that a caller may not have is ever in an answer, however it is asked for", async () => {
  const { executor } = createSubject();
  await fc.assert(
    fc.asyncProperty(fc.nat(1_000_000_000), async (seed) => {
      const { query, variables } = generateOperation(executor.apiSchema, seed, { values: { id: ["u1"] } });
      parse(query);
      const answer = JSON.stringify(await executor.execute({ query, variables, context: nobody }));
      expect(answer, query).not.toMatch(/SECRET|424242/);
      const all = user(["notes", "vault", "money", "audit"], ["vip"]);
      const { errors } = await executor.execute({ query, variables, context: all });
      expect(errors, query).toBeUndefined();
    }),
    { numRuns: 200 },
  );
});
