import type {
  OperationTrace,
  SubgraphClient,
  SubgraphRequest,
  SubgraphResponse,
} from "../execution/clients/subgraph-client.ts";

/** Records the fetches of operations that are recorded, and gives the subgraph the fetch as its parent. */
export function traceFetches(client: SubgraphClient): SubgraphClient {
  const { name, url } = client;

  async function executeTraced(request: SubgraphRequest, trace: OperationTrace): Promise<SubgraphResponse> {
    const { traceparent, onStatus, end } = trace.fetch(name, url);
    try {
      const response = await client.execute({ ...request, context: { ...request.context, traceparent }, onStatus });
      end(response.errors);
      return response;
    } catch (error) {
      end([{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }]);
      throw error;
    }
  }

  return {
    name,
    ...(url && { url }),
    execute(request) {
      const { trace } = request.context;
      return trace ? executeTraced(request, trace) : client.execute(request);
    },
    subscribe(request) {
      request.context.trace?.subscribed(name);
      return client.subscribe(request);
    },
    close: () => client.close(),
  };
}
