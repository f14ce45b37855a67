import { GraphQLError } from "graphql";
import { isPublic, messageOf, ToolyardError, type Logger } from "@toolyard/service-kit";
import type { SharedReads } from "./shared-reads.ts";
import type { OperationContext, SubgraphClient, SubgraphError, SubgraphResponse } from "./subgraph-client.ts";

export type Json = Record<string, unknown>;

/** One run of a plan: what is known so far. */
export interface Execution {
  /** What the subgraphs answered, merged, under the plan's keys. */
  data: Json;
  errors: GraphQLError[];
  /** The client's variables, coerced. */
  variables: Json;
  context: OperationContext;
  signal: AbortSignal;
  /** Rejects when `signal` aborts; never resolves. */
  aborted: Promise<never>;
  /** Whether a fetch gave nothing at all, which its error says once for all the places it was for. */
  hasFailedFetch: boolean;
  /** The client's response keys, by the plan's keys where they differ. */
  responseKeys: ReadonlyMap<string, string>;
  reads: SharedReads;
  /** Within what reads are shared; "" for queries and mutations. */
  readScope: string;
  log: Pick<Logger, "error"> | undefined;
}

export interface Fetch {
  query: string;
  variables: Json;
  /** `variables` as JSON. */
  variablesText: string;
  isMutation?: boolean;
}

/** Asks a subgraph. Never rejects: what went wrong is in the response. */
export async function fetchFrom(client: SubgraphClient, fetch: Fetch, execution: Execution): Promise<SubgraphResponse> {
  const { context, signal, reads, readScope } = execution;
  const { query, variables, variablesText, isMutation = false } = fetch;
  const request = { query, variables, variablesText, context, signal };
  try {
    const response = isMutation ? reads.write(client, request) : reads.read(client, request, readScope);
    return await Promise.race([response, execution.aborted]);
  } catch (error) {
    if (!signal.aborted && !isPublic(error)) {
      execution.log?.error(
        { err: error, subgraph: client.name, requestId: context.requestId },
        "asking a subgraph failed",
      );
    }
    return { errors: [failure(client.name, error, signal)] };
  }
}

/** The error of a subgraph that gave no answer. */
export function failure(subgraph: string, error: unknown, signal: AbortSignal): SubgraphError {
  if (signal.aborted) {
    const isTimeout = isPublic(signal.reason) && signal.reason.code === "TIMEOUT";
    return isTimeout
      ? { message: `The subgraph "${subgraph}" did not answer in time.`, extensions: { code: "TIMEOUT" } }
      : { message: "The operation was cancelled.", extensions: { code: "UPSTREAM_UNAVAILABLE" } };
  }
  if (isPublic(error)) return { message: messageOf(error), extensions: { ...error.extensions } };
  return {
    message: `The subgraph "${subgraph}" could not be asked.`,
    extensions: { code: "UPSTREAM_UNAVAILABLE" },
  };
}

/** A subgraph's error as the client sees it: at the client's path, with the subgraph's name and a code. */
export function clientError(
  error: SubgraphError,
  subgraph: string,
  path: readonly (string | number)[] | undefined,
  execution: Execution,
): GraphQLError {
  const code = typeof error.extensions?.["code"] === "string" ? error.extensions["code"] : "INTERNAL_SERVER_ERROR";
  return new GraphQLError(error.message, {
    ...(path && {
      path: path.map((key) => (typeof key === "string" ? (execution.responseKeys.get(key) ?? key) : key)),
    }),
    extensions: { ...error.extensions, code, service: subgraph, requestId: execution.context.requestId },
  });
}

/** The time that one operation has: until its deadline, or until its client goes away. */
export interface Lifetime {
  signal: AbortSignal;
  /** Rejects when the time is over; never resolves. */
  aborted: Promise<never>;
  /** Releases the timer and the listener. */
  end(): void;
}

/** @param timeoutMs Infinity for no deadline. */
export function createLifetime(outer: AbortSignal | undefined, timeoutMs: number): Lifetime {
  const controller = new AbortController();
  let reject: (reason: unknown) => void = () => undefined;
  const aborted = new Promise<never>((_, rejectPromise) => {
    reject = rejectPromise;
  });
  // Nobody may be waiting when it rejects.
  aborted.catch(() => undefined);
  const abort = (reason: unknown) => {
    controller.abort(reason);
    reject(controller.signal.reason);
  };
  const onOuterAbort = () => abort(outer?.reason);
  let timer: NodeJS.Timeout | undefined;
  if (timeoutMs !== Infinity) {
    const late = () => abort(new ToolyardError("TIMEOUT", `The operation took longer than ${timeoutMs} ms.`));
    timer = setTimeout(late, timeoutMs);
    timer.unref();
  }
  if (outer?.aborted) onOuterAbort();
  else outer?.addEventListener("abort", onOuterAbort, { once: true });
  return {
    signal: controller.signal,
    aborted,
    end() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", onOuterAbort);
    },
  };
}
