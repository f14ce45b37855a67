import { GraphQLError } from "graphql";
import type { Logger } from "@toolyard/service-kit";
// Imported without the rest of the kit, which takes long to load: planners' processes start with this.
import { isPublic, messageOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { createLightAbort, type AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import type { SharedReads } from "./shared-reads.ts";
import type { OperationContext, SubgraphClient, SubgraphError, SubgraphResponse } from "../clients/subgraph-client.ts";

export type Json = Record<string, unknown>;

/** One run of a plan: its data so far. */
export interface Execution {
  /** The subgraphs' answers, merged, under the plan's keys. */
  data: Json;
  errors: GraphQLError[];
  /** For errors below an entity without data: the same at the entity. Nobody may have asked for the field that has the error. */
  entityErrors?: Map<GraphQLError, GraphQLError>;
  /** Where errors are in the data, under the plan's keys. */
  places?: Map<GraphQLError, readonly (string | number)[]>;
  /** The client's variables, coerced. */
  variables: Json;
  context: OperationContext;
  signal: AbortSignalLike;
  /** Whether a fetch gave nothing at all, which its error says once for all its places. */
  hasFailedFetch: boolean;
  /** The client's response keys, by the plan's keys where they differ. */
  responseKeys: ReadonlyMap<string, string>;
  reads: SharedReads;
  /** The scope within which reads are shared; "" for queries and mutations. */
  readScope: string;
  /** The reader's identity for `reads`, once there was a read. */
  reader: string | null;
  log: Pick<Logger, "error"> | undefined;
}

/** The parts of an execution that requests to subgraphs need. */
export type FetchRun = Pick<Execution, "context" | "signal" | "reads" | "readScope" | "reader" | "log">;

export interface Fetch {
  query: string;
  /** Its variables as JSON. */
  variablesText: string;
  isMutation: boolean;
}

/** Asks a subgraph. Never rejects: failures are in the response. */
export function fetchFrom(client: SubgraphClient, fetch: Fetch, execution: FetchRun): Promise<SubgraphResponse> {
  const { context, signal, reads } = execution;
  const { query, variablesText, isMutation } = fetch;
  return new Promise((resolve) => {
    const onAbort = () => resolve({ errors: [failure(client.name, signal.reason, signal)] });
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort);
    const request = { query, variablesText, isMutation, context, signal };
    const asked = isMutation
      ? reads.write(client, request)
      : reads.read(client, request, (execution.reader ??= reads.readerOf(context, execution.readScope)));
    asked.then(
      (response) => {
        signal.removeEventListener("abort", onAbort);
        resolve(response);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        if (!signal.aborted && !isPublic(error)) {
          execution.log?.error(
            { err: error, subgraph: client.name, requestId: context.requestId },
            "asking a subgraph failed",
          );
        }
        resolve({ errors: [failure(client.name, error, signal)] });
      },
    );
  });
}

/** The error of a subgraph that gave no answer. */
export function failure(subgraph: string, error: unknown, signal: AbortSignalLike): SubgraphError {
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
    ...(path && { path: clientPath(path, execution) }),
    extensions: { ...error.extensions, code, service: subgraph, requestId: execution.context.requestId },
  });
}

/** Adds a subgraph's error to those of an execution. */
export function addError(
  error: SubgraphError,
  subgraph: string,
  path: readonly (string | number)[] | undefined,
  execution: Execution,
): GraphQLError {
  const told = clientError(error, subgraph, path, execution);
  execution.errors.push(told);
  if (path) (execution.places ??= new Map()).set(told, path);
  return told;
}

/** A path of the data as the client knows it. */
export function clientPath(
  path: readonly (string | number)[],
  { responseKeys }: Pick<Execution, "responseKeys">,
): (string | number)[] {
  return path.map((key) => (typeof key === "string" ? (responseKeys.get(key) ?? key) : key));
}

/** The time that one operation has: until its deadline, or until its client goes away. */
export interface Lifetime {
  signal: AbortSignalLike;
  /** Rejects when the time is over; never resolves. */
  aborted(): Promise<never>;
  /** Releases the timer and the listener. */
  end(): void;
}

/** @param timeoutMs Infinity for no deadline. */
export function createLifetime(outer: AbortSignalLike | undefined, timeoutMs: number): Lifetime {
  const { signal, abort } = createLightAbort();
  const onOuterAbort = () => abort(outer?.reason);
  let timer: NodeJS.Timeout | undefined;
  if (timeoutMs !== Infinity) {
    const late = () => abort(new ToolyardError("TIMEOUT", `The operation took longer than ${timeoutMs} ms.`));
    timer = setTimeout(late, timeoutMs);
  }
  if (outer?.aborted) onOuterAbort();
  else outer?.addEventListener("abort", onOuterAbort, { once: true });
  return {
    signal,
    aborted() {
      const aborted = new Promise<never>((_, reject) => {
        if (signal.aborted) reject(signal.reason);
        else signal.addEventListener("abort", () => reject(signal.reason));
      });
      // Nobody may be waiting when it rejects.
      aborted.catch(() => undefined);
      return aborted;
    },
    end() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", onOuterAbort);
    },
  };
}
