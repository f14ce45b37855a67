import { anonymous, createLogger, newId, type Caller, type Subgraph } from "@toolyard/service-kit";
import { maskErrors } from "@toolyard/service-kit/errors/mask-errors.ts";
import { createRequire } from "node:module";
import type * as graphql from "graphql";
import type { DocumentNode, ExecutionResult } from "graphql";

// Vite takes graphql's ES modules for what it transforms, Node its CommonJS ones for @apollo/subgraph; a schema is only good with
// the copy that made it. The type is that of either.
const { execute, parse, subscribe, validate } = createRequire(import.meta.url)("graphql") as typeof graphql;

/** What a client would see, errors flattened to what tests look at. */
export interface Answer<Data = Record<string, unknown>> {
  data: Data | null;
  errors: { code: unknown; message: string; path: readonly (string | number)[]; extensions: Record<string, unknown> }[];
}

/** A running subscription. `next()` waits for ever: give the test a deadline. */
export interface AnswerStream<Data> extends AsyncIterableIterator<Answer<Data>> {
  return(): Promise<IteratorResult<Answer<Data>>>;
  [Symbol.asyncDispose](): Promise<void>;
}

const silent = createLogger({ level: "silent", name: "testing" });

/**
 * Runs one operation on a subgraph as a caller, with errors as a client would see them. The document is validated first.
 * `Data` is the test's word for the shape it selects.
 */
export async function executeOn<Data = Record<string, unknown>>(
  subgraph: Pick<Subgraph, "schema" | "createContext">,
  query: string,
  variables: Record<string, unknown> = {},
  caller: Caller = anonymous,
): Promise<Answer<Data>> {
  const requestId = newId();
  const result = await execute({
    schema: subgraph.schema,
    document: documentOf(subgraph, query),
    variableValues: variables,
    contextValue: subgraph.createContext({ caller, requestId }),
  });
  return toAnswer<Data>(result, requestId);
}

/** As executeOn, for a test that expects no error. @throws Error with the errors' codes and messages. */
export async function dataOf<Data = Record<string, unknown>>(
  subgraph: Pick<Subgraph, "schema" | "createContext">,
  query: string,
  variables: Record<string, unknown> = {},
  caller: Caller = anonymous,
): Promise<Data> {
  const { data, errors } = await executeOn<Data>(subgraph, query, variables, caller);
  if (errors.length > 0 || data === null) {
    throw new Error(errors.map(({ code, message }) => `${String(code)}: ${message}`).join("\n") || "no data");
  }
  return data;
}

/** The code of the first error of an operation, or null when there is none. */
export async function codeOf(
  subgraph: Pick<Subgraph, "schema" | "createContext">,
  query: string,
  variables: Record<string, unknown> = {},
  caller: Caller = anonymous,
): Promise<unknown> {
  const { errors } = await executeOn(subgraph, query, variables, caller);
  return errors[0]?.code ?? null;
}

/**
 * Subscribes on a subgraph. Call `return()` (or leave the `for await`) to end it.
 * @throws Error with code and message when the subscription is refused.
 */
export async function subscribeOn<Data = Record<string, unknown>>(
  subgraph: Pick<Subgraph, "schema" | "createContext">,
  query: string,
  variables: Record<string, unknown> = {},
  caller: Caller = anonymous,
): Promise<AnswerStream<Data>> {
  const requestId = newId();
  const stream = await subscribe({
    schema: subgraph.schema,
    document: documentOf(subgraph, query),
    variableValues: variables,
    contextValue: subgraph.createContext({ caller, requestId }),
  });
  if (!(Symbol.asyncIterator in stream)) {
    const { errors } = toAnswer(stream, requestId);
    throw new Error(errors.map(({ code, message }) => `${String(code)}: ${message}`).join("\n"));
  }
  const iterator = stream[Symbol.asyncIterator]();
  const answers: AnswerStream<Data> = {
    async next() {
      const step = await iterator.next();
      if (step.done) return { done: true, value: undefined };
      return { done: false, value: toAnswer<Data>(step.value, requestId) };
    },
    async return() {
      await iterator.return?.();
      return { done: true, value: undefined };
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.();
    },
    [Symbol.asyncIterator]: () => answers,
  };
  return answers;
}

function documentOf(subgraph: Pick<Subgraph, "schema">, query: string): DocumentNode {
  const document = parse(query);
  const errors = validate(subgraph.schema, document);
  if (errors.length > 0)
    throw new Error(`The test's document is not valid: ${errors.map((e) => e.message).join("; ")}`);
  return document;
}

function toAnswer<Data>(result: ExecutionResult, requestId: string): Answer<Data> {
  return {
    // The test named the shape of what it selected.
    data: (result.data ?? null) as Data | null,
    errors: maskErrors(result.errors ?? [], { logger: silent, requestId }).map((error) => ({
      code: error.extensions.code,
      message: error.message,
      path: error.path ?? [],
      extensions: { ...error.extensions },
    })),
  };
}
