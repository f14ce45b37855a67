import { ToolyardError, newId, type GraphClient } from "@toolyard/service-kit";
import { errorOfAnswer } from "@toolyard/service-kit/graph/http-graph-client.ts";
import type { ExecutionResult } from "graphql";
import type { Executor } from "./execution/executor.ts";

/** The graph for parts in the gateway's own process: no HTTP between. */
export function createExecutorGraphClient(executor: Pick<Executor, "execute" | "subscribe">): GraphClient {
  function dataOf<Data>(result: ExecutionResult): Data {
    if (result.errors?.length) throw errorOfAnswer(result.errors);
    if (!result.data) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The graph answered without data.");
    // The caller wrote the selection and so knows the shape.
    return result.data as Data;
  }
  return {
    async query<Data>({ query, variables, as, requestId, signal }: Parameters<GraphClient["query"]>[0]) {
      return dataOf<Data>(
        await executor.execute({ query, variables, context: { caller: as, requestId: requestId ?? newId() }, signal }),
      );
    },
    async *subscribe<Data>({ query, variables, as, requestId, signal }: Parameters<GraphClient["subscribe"]>[0]) {
      const results = executor.subscribe({
        query,
        variables,
        context: { caller: as, requestId: requestId ?? newId() },
        signal,
      });
      for await (const result of results) yield dataOf<Data>(result);
    },
  };
}
