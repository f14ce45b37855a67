import type { FixtureSubgraph } from "@toolyard/gateway/execution/fixtures/compose.ts";

/** What the gateways are asked. */
export const operations = {
  "three hops": `query Hops { products(first: 10) { upc name price shippingEstimate reviews { id body author { id name username } } } }`,
  "one subgraph": `query One { products(first: 10) { upc name price weight } }`,
};

const products = Array.from({ length: 20 }, (_, i) => ({
  upc: `p${i}`,
  name: `Product ${i}`,
  price: 10 * i,
  weight: i,
}));
const reviews = Array.from({ length: 60 }, (_, i) => ({
  id: `r${i}`,
  body: `Review number ${i}`,
  upc: `p${i % 20}`,
  authorId: `u${i % 7}`,
}));
const users = Array.from({ length: 7 }, (_, i) => ({ id: `u${i}`, name: `User ${i}`, username: `user${i}` }));

interface Upc {
  upc: string;
}

/** Four subgraphs, of which the first operation needs all. */
export const shop: Record<string, FixtureSubgraph> = {
  products: {
    typeDefs: `type Query { products(first: Int): [Product!]! } type Product @key(fields: "upc") { upc: ID! name: String price: Int weight: Int }`,
    resolvers: { Query: { products: (_: unknown, { first }: { first: number }) => products.slice(0, first) } },
  },
  reviews: {
    typeDefs: `type Product @key(fields: "upc") { upc: ID! reviews: [Review!]! } type Review @key(fields: "id") { id: ID! body: String author: User } type User @key(fields: "id", resolvable: false) { id: ID! }`,
    resolvers: {
      Product: { reviews: ({ upc }: Upc) => reviews.filter((review) => review.upc === upc) },
      Review: { author: ({ authorId }: { authorId: string }) => ({ id: authorId }) },
    },
  },
  users: {
    typeDefs: `type User @key(fields: "id") { id: ID! name: String username: String }`,
    resolvers: { User: { __resolveReference: ({ id }: { id: string }) => users.find((user) => user.id === id) } },
  },
  shipping: {
    typeDefs: `type Product @key(fields: "upc") { upc: ID! price: Int @external weight: Int @external shippingEstimate: Int @requires(fields: "price weight") }`,
    resolvers: {
      Product: { shippingEstimate: ({ price, weight }: { price: number; weight: number }) => price + weight },
    },
  },
};
