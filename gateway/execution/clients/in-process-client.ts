import { createSourceEventStream, execute, parse, type DocumentNode, type ExecutionResult } from "graphql";
import { sliceAfter, type Logger, type Subgraph } from "@toolyard/service-kit";
import { maskErrors } from "@toolyard/service-kit/errors/mask-errors.ts";
import { createDocumentCache } from "@toolyard/service-kit/graph/document-cache.ts";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import { variablesOf, type SubgraphClient, type SubgraphRequest, type SubgraphResponse } from "./subgraph-client.ts";

export interface InProcessClientOptions {
  subgraph: Pick<Subgraph, "name" | "schema" | "createContext">;
  /** Where errors without a public message go, with their stack. */
  log?: Pick<Logger, "error">;
}

/** The total size of the kept documents, by estimate. */
const MAX_CACHED_BYTES = 32 * 1_048_576;

const silent: Pick<Logger, "error"> = { error: () => undefined };

/** Calls a subgraph of this process: no HTTP, no serialization, no parsing of an operation seen before. */
export function createInProcessClient(options: InProcessClientOptions): SubgraphClient {
  const { subgraph, log = silent } = options;
  const documents = createDocumentCache<DocumentNode>({ maxBytes: MAX_CACHED_BYTES });

  function documentOf(query: string): DocumentNode {
    const known = documents.get(query);
    if (known) return known;
    const document = parse(query, { noLocation: true });
    documents.set(query, document);
    return document;
  }

  function run(request: SubgraphRequest, document: DocumentNode, rootValue?: unknown): Promise<ExecutionResult> {
    const { caller, requestId, clientAddress, warn } = request.context;
    // Loaders are made anew for every operation and every event: their cached values may have changed since.
    const result = execute({
      schema: subgraph.schema,
      document,
      rootValue,
      contextValue: subgraph.createContext({ caller, requestId, clientAddress, warn }),
      variableValues: variablesOf(request),
    });
    return result instanceof Promise ? result : Promise.resolve(result);
  }

  function toResponse({ data, errors }: ExecutionResult, { context }: SubgraphRequest): SubgraphResponse {
    if (!errors) return { data };
    return { data, errors: maskErrors(errors, { logger: log, requestId: context.requestId }) };
  }

  return {
    name: subgraph.name,
    async execute(request) {
      // The executor stops waiting when the signal aborts; graphql-js 16 cannot be interrupted.
      const result = await run(request, documentOf(request.query));
      const slice = sliceAfter();
      if (slice) await slice;
      return toResponse(result, request);
    },
    async *subscribe(request) {
      if (request.signal.aborted) return;
      const document = documentOf(request.query);
      const { caller, requestId, clientAddress } = request.context;
      const closeEvents = (events: AsyncIterator<unknown>) => {
        // Not awaited: a generator that waits for its next event answers `return` only after that event.
        void Promise.resolve(events.return?.()).catch((error: unknown) => {
          log.error({ err: error, subgraph: subgraph.name, requestId }, "closing an event stream failed");
        });
      };
      const opening = createSourceEventStream({
        schema: subgraph.schema,
        document,
        contextValue: subgraph.createContext({ caller, requestId, clientAddress }),
        variableValues: variablesOf(request),
      });
      const source = await untilAborted(opening, request.signal);
      if (source === null) {
        const closeLate = (late: Awaited<typeof opening>) => {
          if (Symbol.asyncIterator in late) closeEvents(late[Symbol.asyncIterator]());
        };
        // A refusal interests nobody any more.
        void opening.then(closeLate, () => undefined);
        return;
      }
      if (!(Symbol.asyncIterator in source)) {
        yield toResponse(source, request);
        return;
      }
      request.onOpen?.();
      const events = source[Symbol.asyncIterator]();
      try {
        while (!request.signal.aborted) {
          const event = await untilAborted(events.next(), request.signal);
          if (event === null || event.done) return;
          yield toResponse(await run(request, document, event.value), request);
        }
      } finally {
        closeEvents(events);
      }
    },
    close: async () => documents.clear(),
  };
}

/** Settles as `promise` does, or with null when the signal aborts first. */
async function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignalLike): Promise<Value | null> {
  if (signal.aborted) return null;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<null>((resolve) => {
    onAbort = () => resolve(null);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}
