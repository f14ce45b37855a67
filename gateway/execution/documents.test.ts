import { buildSchema, GraphQLError, type ValidationRule } from "graphql";
import { anonymous } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { admissionChecks, createAdmission } from "../admission/admission.ts";
import { defaultOperationLimits } from "../admission/operation-limits.ts";
import { createInProcessClient } from "./clients/in-process-client.ts";
import { createDocuments } from "./documents.ts";
import { createExecutor } from "./executor.ts";
import { composeFixture } from "./fixtures/compose.ts";
import { shop } from "./fixtures/shop.ts";
import { createHivePlanner } from "./planning/hive-planner.ts";
import { createLocalPlanner } from "./fixtures/local-planner.ts";

const schema = buildSchema("type Query { a: Int b: Query }");
const costs = { fields: new Map(), inputFields: new Map(), types: new Map() };
const limits = defaultOperationLimits;

function counting() {
  const count = { measured: 0, validated: 0 };
  const rule: ValidationRule = () => ({ Document: { enter: () => void count.validated++ } });
  return {
    count,
    checks: {
      maxTokens: 1_000,
      rules: [rule],
      measure: () => {
        count.measured++;
        return null;
      },
      refusal: (limit: string) => new GraphQLError(limit),
    },
  };
}

test("a text is parsed and validated once, by whom and however often it is admitted, run and explained", async () => {
  const { supergraphSdl, schemas } = composeFixture(shop({}));
  const { count, checks } = counting();
  const executor = createExecutor({
    supergraphSdl,
    clients: [...schemas].map(([name, served]) =>
      createInProcessClient({ subgraph: { name, schema: served, createContext: (request) => request } }),
    ),
    planner: createLocalPlanner({ supergraphSdl, cores: [createHivePlanner({ supergraphSdl })] }),
    checksOf: () => checks,
  });
  const { apiSchema, documents } = executor;
  const admission = createAdmission({ schema: apiSchema, documents: documents.public, costs, limits });
  const request = { query: "{ __typename }", context: { caller: anonymous, requestId: "r" } };
  expect(admission.knows(request.query)).toBe(false);
  expect(admission.admit(request.query, null)).toHaveProperty("hash");
  expect(executor.inspect(request)).toMatchObject({ kind: "query" });
  expect(await executor.execute(request)).toEqual({ data: { __typename: "Query" } });
  await executor.explain(request);
  expect(admission.admit(request.query, null)).toHaveProperty("hash");
  expect(count).toEqual({ measured: 1, validated: 1 });
  await executor.close();
});

test("a refused text is not looked at again, and is refused alike", () => {
  const { count, checks } = counting();
  const documents = createDocuments({ schema, checks, maxCachedBytes: 1_048_576 });
  const [first, second] = [documents.get("{ c }"), documents.get("{ c }")];
  expect(first).toMatchObject([{ extensions: { code: "GRAPHQL_VALIDATION_FAILED" } }]);
  expect(second).toBe(first);
  expect(count).toEqual({ measured: 1, validated: 1 });
  expect(documents.get("{")).toMatchObject([{ extensions: { code: "GRAPHQL_PARSE_FAILED" } }]);
  expect(documents.get(`{ ${"a ".repeat(1_001)} }`)).toMatchObject([{ message: "tokens" }]);
});

test("what is made of a document counts with it, and goes with it", () => {
  const documents = createDocuments({ schema, maxCachedBytes: 320_000 });
  const large = documents.get("{ a }");
  if (!("document" in large)) throw new Error("It is valid.");
  documents.addBytes(large, 10_000);
  expect([...documents.kept()]).toEqual([large]);
  // More than a sixteenth of all.
  documents.addBytes(large, 10_000);
  expect([...documents.kept()]).toEqual([]);
  documents.addBytes(large, 10_000);
  expect(documents.knows("{ a }")).toBe(false);
});

test("a text that was made here of a listed one is not listed for whoever sends it", () => {
  const checks = admissionChecks({ schema, costs, limits, introspection: true });
  const documents = createDocuments({ schema, checks, maxCachedBytes: 1_048_576 });
  const admission = createAdmission({ schema, documents, costs, limits, isKnown: (text) => text === "{ a }" });
  expect(admission.admit("{ a b { a } }", null, "{ a }")).toHaveProperty("hash");
  expect(admission.admit("{ a b { a } }", null)).toMatchObject([
    { extensions: { code: "PERSISTED_QUERY_NOT_IN_LIST" } },
  ]);
});
