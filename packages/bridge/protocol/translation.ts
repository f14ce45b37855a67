import { isObject } from "@toolyard/service-kit/json.ts";
import { metaKey, STATELESS_VERSION } from "./era.ts";
import { code, type Message, type Params } from "./json-rpc.ts";
import { needsTask } from "../child/tool-notes.ts";

/** Requests and results of the stateless revision (2026-07-28) for and from a server of the session era. */

/** Results that must say how long they may be kept. */
const CACHEABLE_METHODS: readonly string[] = [
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
];
const envelopeKeys: readonly string[] = [
  metaKey.protocolVersion,
  metaKey.clientInfo,
  metaKey.clientCapabilities,
  metaKey.logLevel,
];

const NOT_PASSED_ON: readonly string[] = ["_meta", "inputResponses", "requestState"];

function without(object: Record<string, unknown>, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

/** The params of a request to pass on: all but the envelope and members of another round. */
export function withoutEnvelope(params: Params | undefined): Params | undefined {
  if (params === undefined) return undefined;
  const { _meta: meta } = params;
  // Not by a rest pattern: that takes seconds where there are very many.
  const rest = without(params, NOT_PASSED_ON);
  if (!isObject(meta)) return rest;
  const kept = without(meta, envelopeKeys);
  return Object.keys(kept).length === 0 ? rest : { ...rest, _meta: kept };
}

export function toStatelessError(error: NonNullable<Message["error"]>): NonNullable<Message["error"]> {
  // "Resource not found" moved to "invalid params" in 2026-07-28.
  return error.code === -32002 ? { ...error, code: code.invalidParams } : error;
}

/** The answer to `server/discover` of a server of the session era. */
export function toDiscoverResult(server: {
  capabilities: Record<string, unknown>;
  instructions: unknown;
  serverInfo: unknown;
}): Record<string, unknown> {
  const { capabilities, instructions, serverInfo } = server;
  const { tasks: _tasks, ...offered } = capabilities;
  return {
    resultType: "complete",
    supportedVersions: [STATELESS_VERSION],
    capabilities: offered,
    ...(typeof instructions === "string" ? { instructions } : {}),
    ttlMs: 0,
    cacheScope: "private",
    _meta: { [metaKey.serverInfo]: serverInfo },
  };
}

export function toStatelessResult(method: string, result: unknown, serverInfo: unknown): unknown {
  if (!isObject(result)) return result;
  const given = isObject(result._meta) ? result._meta : undefined;
  const complete: Record<string, unknown> = {
    ...result,
    resultType: "complete",
    _meta: { [metaKey.serverInfo]: serverInfo, ...given },
  };
  if (method === "tools/list" && Array.isArray(result.tools)) {
    complete.tools = result.tools.flatMap((tool: unknown) => {
      if (!isObject(tool) || !("execution" in tool)) return [tool];
      if (needsTask(tool)) return [];
      const { execution: _execution, ...rest } = tool;
      return [rest];
    });
  }
  if (CACHEABLE_METHODS.includes(method)) {
    if (!Number.isInteger(result.ttlMs)) complete.ttlMs = 0;
    if (result.cacheScope !== "public") complete.cacheScope = "private";
  }
  return complete;
}
