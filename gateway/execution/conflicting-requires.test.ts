import { describe, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { createApolloPlanner } from "./planning/apollo-planner.ts";
import { createExecutor } from "./executor.ts";
import { composeFixture } from "./fixtures/compose.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";

interface Article {
  id: string;
  base: number;
}
const rates: Record<string, number> = { EUR: 10, USD: 11 };
const told = (currency: string) => (article: { price?: number | null }) => {
  if (article.price === undefined) throw new Error("The gateway did not send the price.");
  return `${String(article.price)} ${currency}`;
};

/** Fields that `@require` the same field under different arguments; `log` has what is done to the articles, in order. */
function articles(log: string[]) {
  return composeFixture({
    articles: {
      typeDefs: `
        type Query { article: Article }
        type Mutation { edit(id: ID!): Article fail(id: ID!): Article }
        type Subscription { edited: Article! }
        type Article @key(fields: "id") { id: ID! price(currency: String!): Int parts: [Article!]! }
      `,
      resolvers: {
        Mutation: {
          edit: (_: unknown, { id }: { id: string }) => {
            log.push(`edit ${id}`);
            return { id, base: Number(id) };
          },
          fail: () => {
            log.push("fail");
            throw new Error("no");
          },
        },
        Subscription: {
          edited: {
            subscribe: async function* () {
              yield { edited: { id: "1", base: 1 } };
              yield { edited: { id: "2", base: 2 } };
            },
          },
        },
        Article: {
          price: ({ id, base }: Article, { currency }: { currency: string }) => {
            if (id === "13") throw new Error("no price");
            return base * (rates[currency] ?? 0);
          },
          parts: ({ id }: Article) => (id === "1" ? [{ id: "3", base: 3 }] : []),
        },
      },
    },
    exchange: {
      typeDefs: `
        type Article @key(fields: "id") {
          id: ID!
          price(currency: String!): Int @external
          euros: String @requires(fields: "price(currency: \\"EUR\\")")
          dollars: String @requires(fields: "price(currency: \\"USD\\")")
        }
      `,
      resolvers: {
        Article: {
          __resolveReference: (article: { id: string }) => {
            log.push(`exchange ${article.id}`);
            return article;
          },
          euros: told("EUR"),
          dollars: told("USD"),
        },
      },
    },
  });
}

const context = { caller: anonymous, requestId: "r" };

describe.each([
  ["the native planner", createHivePlanner],
  ["Apollo's planner", createApolloPlanner],
])(
  "what conflicting requirements are asked of below something that may run only once, by %s",
  (_name, createPlanner) => {
    function start() {
      const log: string[] = [];
      const { supergraphSdl, schemas } = articles(log);
      const executor = createExecutor({
        supergraphSdl,
        planner: createLocalPlanner({ supergraphSdl, cores: [createPlanner({ supergraphSdl })] }),
        clients: [...schemas].map(([name, schema]) =>
          createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
        ),
      });
      return { executor, log };
    }

    test("a mutation runs once, and everything required is right", async () => {
      const { executor, log } = start();
      const query = `mutation { edit(id: "1") { dollars euros price(currency: "EUR") parts { euros dollars id } } }`;
      expect(await executor.execute({ query, context })).toEqual({
        data: {
          edit: {
            dollars: "11 USD",
            euros: "10 EUR",
            price: 10,
            parts: [{ euros: "30 EUR", dollars: "33 USD", id: "3" }],
          },
        },
      });
      expect(log.filter((entry) => entry.startsWith("edit"))).toEqual(["edit 1"]);
    });

    test("mutations run in turn, each with what is below it before the next", async () => {
      const { executor, log } = start();
      const query = `mutation Q($id: ID!) { a: edit(id: "1") { dollars euros } b: edit(id: $id) { euros } fail(id: 3) { dollars euros } }`;
      const result = await executor.execute({ query, variables: { id: "2" }, context });
      expect(result.data).toEqual({
        a: { dollars: "11 USD", euros: "10 EUR" },
        b: { euros: "20 EUR" },
        fail: null,
      });
      expect(result.errors?.map(({ path }) => path)).toEqual([["fail"]]);
      expect(log).toEqual(["edit 1", "exchange 1", "exchange 1", "edit 2", "exchange 2", "fail"]);
    });

    test("an error in any part is told at the client's path", async () => {
      const { executor } = start();
      const query = `mutation { edit(id: "13") { id dollars euros cents: price(currency: "USD") } }`;
      const result = await executor.execute({ query, context });
      expect(result.data).toEqual({ edit: { id: "13", dollars: "null USD", euros: "null EUR", cents: null } });
      expect(result.errors?.map(({ path }) => path)).toContainEqual(["edit", "cents"]);
      expect(JSON.stringify(result)).not.toContain("_part");
    });

    test("a subscription has one upstream, and every event is complete", async () => {
      const { executor } = start();
      const events = [];
      for await (const event of executor.subscribe({ query: `subscription { edited { euros id dollars } }`, context }))
        events.push(event);
      expect(events).toEqual([
        { data: { edited: { euros: "10 EUR", id: "1", dollars: "11 USD" } } },
        { data: { edited: { euros: "20 EUR", id: "2", dollars: "22 USD" } } },
      ]);
    });
  },
);
