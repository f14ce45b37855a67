import { parse } from "graphql";
import { isObject } from "@toolyard/service-kit/json.ts";
import {
  childShape,
  copyByShape,
  hasPath,
  mergeData,
  renamedPath,
  renamedShape,
  shapeOfOperation,
  type DataShape,
} from "./data-shape.ts";
import { createEntityPath, type EntityPath } from "./entity-paths.ts";
import { addError, clientError, fetchFrom, type Execution, type Json } from "./execution.ts";
import type {
  BatchFetchNode,
  EntityBatch,
  FetchNode,
  FlattenNode,
  PathSegment,
  Rewrite,
} from "../planning/query-plan.ts";
import { createRepresentationMaker, type RepresentationMaker } from "./representations.ts";
import { createRewriter } from "./rewrites.ts";
import type { SubgraphClient, SubgraphError, SubgraphResponse } from "../clients/subgraph-client.ts";
import type { Supergraph } from "../schema/supergraph.ts";

/** A part of a compiled plan. Null when there was nothing to wait for. Never rejects. */
export type Step = (execution: Execution) => Promise<void> | null;

export interface StepOptions {
  clientOf(subgraph: string): SubgraphClient;
  supergraph: Supergraph;
}

/** Handles an answer that holds root fields. */
export function createRootMerge(node: FetchNode, { supergraph }: StepOptions) {
  const shape = renamedShape(shapeOfOperation(parse(node.operation, { noLocation: true })), node.outputRewrites);
  const rewrite = createRewriter(node.outputRewrites, supergraph);
  return (response: SubgraphResponse, execution: Execution): void => {
    const { data, errors } = response;
    for (const error of errors ?? []) {
      const path = error.path && renamedPath(error.path, node.outputRewrites);
      if (path && path.length > 0 && hasPath(shape, path)) {
        addError(error, node.subgraph, path, execution);
        continue;
      }
      // Nothing came for any of the fields: each of them has an error, as section 6.4.4 of the specification wants it.
      if (!data) execution.hasFailedFetch = true;
      for (const key of data ? [] : shape.keys) {
        addError(error, node.subgraph, [key], execution);
      }
      if (data) addError(error, node.subgraph, undefined, execution);
    }
    if (!data) return;
    rewrite?.(data);
    mergeData(execution.data, data, shape, supergraph);
  };
}

/** @param merge handles the answer; by default it is put into the execution's data */
export function createRootFetch(node: FetchNode, options: StepOptions, merge = createRootMerge(node, options)): Step {
  const client = options.clientOf(node.subgraph);
  const isMutation = node.operationKind === "mutation";
  return async (execution) => {
    const variablesText = node.variables.length > 0 ? JSON.stringify(pickVariables(node.variables, execution)) : "{}";
    const fetch = { query: node.operation, variablesText, isMutation };
    merge(await fetchFrom(client, fetch, execution), execution);
  };
}

/** The variables of the client that a fetch uses; those left out stay out. */
export function pickVariables(names: readonly string[], { variables }: Execution): Json {
  const picked: Json = {};
  for (const name of names) {
    const value = variables[name];
    // JSON has no functions: all objects inherit the one of that name.
    if (value !== undefined && typeof value !== "function") picked[name] = value;
  }
  return picked;
}

export function createEntityFetch({ path, node }: FlattenNode, options: StepOptions): Step {
  const { subgraph, operation, requires, inputRewrites, outputRewrites } = node;
  if (requires === null) return createRootFetchAt(path, node, options);
  return createBatchFetch(
    {
      kind: "BatchFetch",
      subgraph,
      operation,
      variables: node.variables,
      batches: [
        {
          alias: "_entities",
          representationsVariable: "representations",
          paths: [path],
          requires,
          inputRewrites,
          outputRewrites,
        },
      ],
    },
    options,
  );
}

/** Root fields for objects of the root type that are further down (`query: Query` of a mutation's payload): the same for all of them. */
function createRootFetchAt(path: readonly PathSegment[], node: FetchNode, options: StepOptions): Step {
  const { collect, locate } = createEntityPath(path, options.supergraph);
  const shape = renamedShape(shapeOfOperation(parse(node.operation, { noLocation: true })), node.outputRewrites);
  const merge = createRootMerge(node, options);
  return (execution) => {
    const targets: Json[] = [];
    collect(execution.data, targets);
    if (targets.length === 0) return null;
    const fetch = createRootFetch(node, options, (response) => {
      const own: Execution = { ...execution, data: {}, errors: [], places: new Map() };
      merge(response, own);
      locate(execution.data, (_, location) => {
        for (const error of own.errors)
          addError(error, node.subgraph, [...location, ...(own.places?.get(error) ?? [])], execution);
      });
      execution.hasFailedFetch ||= own.hasFailedFetch;
      for (const target of targets) {
        const copy = copyByShape(own.data, shape);
        if (isObject(copy)) mergeData(target, copy, shape, options.supergraph);
      }
    });
    return fetch(execution);
  };
}

export function createBatchFetch(node: BatchFetchNode, options: StepOptions): Step {
  const client = options.clientOf(node.subgraph);
  const shape = shapeOfOperation(parse(node.operation, { noLocation: true }));
  const batches = node.batches.map((batch) => compileBatch(batch, shape, options));

  return (execution) => {
    const gathered: GatheredEntities[] = [];
    let isEmpty = true;
    for (const batch of batches) {
      const entities = gather(batch, execution);
      gathered.push(entities);
      if (entities.texts.length > 0) isEmpty = false;
    }
    if (isEmpty) return null;
    let variablesText =
      node.variables.length > 0 ? JSON.stringify(pickVariables(node.variables, execution)).slice(1, -1) : "";
    for (let i = 0; i < batches.length; i++) {
      const texts = gathered[i]?.texts.join(",") ?? "";
      variablesText += `${variablesText === "" ? "" : ","}${batches[i]?.variableText}:[${texts}]`;
    }
    const fetch = { query: node.operation, variablesText: `{${variablesText}}`, isMutation: false };
    return fetchFrom(client, fetch, execution).then((response) =>
      takeEntities(response, { batches, gathered, subgraph: node.subgraph, supergraph: options.supergraph, execution }),
    );
  };
}

interface CompiledBatch {
  alias: string;
  /** The name of the variable for representations, as JSON. */
  variableText: string;
  paths: readonly EntityPath[];
  represent: RepresentationMaker;
  rewrite: ((object: Json) => void) | null;
  outputRewrites: readonly Rewrite[];
  shape: DataShape;
}

/** The entities found for a batch. `representationOf[i]` is the index of the representation of `targets[i]`. */
interface GatheredEntities {
  /** The representations, each as JSON. */
  texts: string[];
  targets: Json[];
  representationOf: number[];
}

function compileBatch(batch: EntityBatch, operation: DataShape, { supergraph }: StepOptions): CompiledBatch {
  const outputRewrites = batch.outputRewrites.map((rewrite) => relativeToEntity(rewrite, batch.alias));
  return {
    alias: batch.alias,
    variableText: JSON.stringify(batch.representationsVariable),
    paths: batch.paths.map((path) => createEntityPath(path, supergraph)),
    represent: createRepresentationMaker({ requires: batch.requires, inputRewrites: batch.inputRewrites, supergraph }),
    rewrite: createRewriter(outputRewrites, supergraph),
    outputRewrites,
    shape: renamedShape(childShape(operation, batch.alias), outputRewrites),
  };
}

function relativeToEntity(rewrite: Rewrite, alias: string): Rewrite {
  const [first] = rewrite.path;
  const isFromRoot = first?.kind === "Key" && (first.key === alias || first.key === "_entities");
  return isFromRoot ? { ...rewrite, path: rewrite.path.slice(1) } : rewrite;
}

function gather(batch: CompiledBatch, execution: Execution): GatheredEntities {
  const found: Json[] = [];
  for (const path of batch.paths) path.collect(execution.data, found);
  const texts: string[] = [];
  const targets: Json[] = [];
  const representationOf: number[] = [];
  const known = new Map<string, number>();
  const cache = { typeName: "", byKey: new Map<string, string>() };
  for (const entity of found) {
    const text = batch.represent(entity, execution.variables, cache);
    if (text === null) continue;
    let index = known.get(text);
    if (index === undefined) {
      index = texts.length;
      if (found.length > 1) known.set(text, index);
      texts.push(text);
    }
    targets.push(entity);
    representationOf.push(index);
  }
  return { texts, targets, representationOf };
}

interface Answered {
  batches: readonly CompiledBatch[];
  gathered: readonly GatheredEntities[];
  subgraph: string;
  supergraph: Supergraph;
  execution: Execution;
  /** By the batch's position, once an error needs it. */
  locations?: Locations[];
}

type Location = readonly (string | number)[];
/** Where in the client's response a representation's entity stands, by the representation's index. */
type Locations = ReadonlyMap<number, Location[]>;

function takeEntities(response: SubgraphResponse, answered: Answered): void {
  const { batches, gathered, supergraph, subgraph } = answered;
  // Paths are read off the data as it was when the entities were gathered.
  for (const error of response.errors ?? []) addEntityError(error, response, answered);
  const { data } = response;
  if (!data) return;
  batches.forEach((batch, index) => {
    const entities = gathered[index];
    const received = data[batch.alias];
    if (!entities || entities.texts.length === 0) return;
    if (!Array.isArray(received) || received.length !== entities.texts.length) {
      // A null with its own error is an answer as well.
      if (received === null && response.errors?.length) return;
      const message = `The subgraph "${subgraph}" did not answer with the entities it was asked for.`;
      addEntityError({ message, extensions: { code: "UPSTREAM_UNAVAILABLE" } }, {}, answered);
      return;
    }
    mergeEntities(batch, entities, received, supergraph);
  });
}

function mergeEntities(
  batch: CompiledBatch,
  entities: GatheredEntities,
  received: readonly unknown[],
  supergraph: Supergraph,
): void {
  const { targets, representationOf } = entities;
  if (batch.rewrite) for (const entity of received) if (isObject(entity)) batch.rewrite(entity);
  // Where one answer goes to places under different paths, later fetches may want different things below it.
  const mustCopy = batch.paths.length > 1 && entities.texts.length < targets.length;
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i];
    const entity = received[representationOf[i] ?? -1];
    if (!target || !isObject(entity)) continue;
    const own = mustCopy ? copyByShape(entity, batch.shape) : entity;
    if (isObject(own)) mergeData(target, own, batch.shape, supergraph);
  }
}

/** Brings an error of an `_entities` fetch to the places in the client's response that the entity stands for. */
function addEntityError(error: SubgraphError, response: SubgraphResponse, answered: Answered): void {
  const { batches, gathered, subgraph, execution } = answered;
  const [alias, index, ...rest] = error.path ?? [];
  const position = batches.findIndex((batch) => batch.alias === alias);
  const batch = batches[position];
  const entities = gathered[position];
  if (batch && entities && typeof index === "number") {
    // Worked out once for an answer: each of many entities may have an error.
    answered.locations ??= [];
    const locations = (answered.locations[position] ??= locationsOf(batch, entities, execution)).get(index) ?? [];
    const renamed = renamedPath(rest, batch.outputRewrites);
    const below = hasPath(batch.shape, renamed) ? renamed : [];
    const received = response.data?.[batch.alias];
    const isLost = below.length > 0 && Array.isArray(received) && received[index] === null;
    for (const location of locations) {
      const told = addError(error, subgraph, [...location, ...below], execution);
      if (isLost) (execution.entityErrors ??= new Map()).set(told, clientError(error, subgraph, location, execution));
    }
    if (locations.length > 0) return;
  }
  if (!response.data) execution.hasFailedFetch = true;
  addError(error, subgraph, firstLocation(batches, gathered, execution), execution);
}

function locationsOf(batch: CompiledBatch, entities: GatheredEntities, execution: Execution): Locations {
  const { targets, representationOf } = entities;
  const indexOf = new Map(targets.map((target, i) => [target, representationOf[i] ?? -1]));
  const found = new Map<number, Location[]>();
  for (const path of batch.paths) {
    path.locate(execution.data, (entity, location) => {
      const index = indexOf.get(entity);
      if (index === undefined) return;
      const known = found.get(index);
      if (known) known.push(location);
      else found.set(index, [location]);
    });
  }
  return found;
}

function firstLocation(
  batches: readonly CompiledBatch[],
  gathered: readonly GatheredEntities[],
  execution: Execution,
): (string | number)[] | undefined {
  let first: (string | number)[] | undefined;
  batches.forEach((batch, index) => {
    const targets = new Set(gathered[index]?.targets);
    for (const path of batch.paths) {
      path.locate(execution.data, (entity, location) => {
        if (targets.has(entity)) first ??= location;
      });
    }
  });
  return first;
}
