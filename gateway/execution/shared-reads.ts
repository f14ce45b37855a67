import type { Caller } from "@toolyard/service-kit";
import type { OperationContext, SubgraphClient, SubgraphRequest, SubgraphResponse } from "./subgraph-client.ts";

export interface SharedReadsOptions {
  /**
   * A read that is under way is joined when it began no longer than this ago. Who joins is told what was true when the read began, so
   * this is also how old an answer may be; 0 turns sharing off.
   */
  windowMs: number;
  /** Milliseconds on a clock that only goes forward. */
  now?: () => number;
}

/**
 * Identical reads of one subgraph on behalf of one caller become one request, within an operation and across operations. After a
 * mutation no read that began before its end is joined any more, so a client that writes and then reads finds what it wrote.
 */
export interface SharedReads {
  /** @param scope reads are shared within the same scope only: that of one event of a subscription, or "" */
  read(
    client: SubgraphClient,
    request: SubgraphRequest & { variablesText: string },
    scope: string,
  ): Promise<SubgraphResponse>;
  write(client: SubgraphClient, request: SubgraphRequest): Promise<SubgraphResponse>;
}

interface Read {
  beganAt: number;
  request: SubgraphRequest;
  /** Null as long as nobody joined. */
  joined: ((settled: { response: SubgraphResponse } | { error: unknown }) => void)[] | null;
}

export function createSharedReads({ windowMs, now = () => performance.now() }: SharedReadsOptions): SharedReads {
  const underWay = new Map<string, Read>();
  const callers = new WeakMap<Caller, string>();

  function callerKey(caller: Caller): string {
    let key = callers.get(caller);
    if (key === undefined) {
      const { kind, subject, role, scopes, servicePermissions, credential, expiresAt } = caller;
      key = JSON.stringify([kind, subject, role, scopes, servicePermissions, credential, expiresAt]);
      callers.set(caller, key);
    }
    return key;
  }

  /** All that an answer may depend on. What only says which request it is, such as its id, is left out. */
  function keyOf(client: SubgraphClient, { query, variablesText, context }: SubgraphRequest, scope: string): string {
    const { caller, headers, clientAddress = "" }: OperationContext = context;
    const forwarded = headers ? JSON.stringify(headers) : "";
    return `${client.name}\n${callerKey(caller)}\n${clientAddress}\n${forwarded}\n${scope}\n${query}\n${variablesText}`;
  }

  function join(known: Read, client: SubgraphClient, request: SubgraphRequest): Promise<SubgraphResponse> {
    return new Promise((resolve, reject) => {
      known.joined ??= [];
      known.joined.push((settled) => {
        // The client that it was sent for went away; this one did not.
        if (known.request.signal.aborted) resolve(client.execute(request));
        else if ("error" in settled) reject(settled.error);
        else resolve(copy(settled.response));
      });
    });
  }

  return {
    async read(client, request, scope) {
      if (windowMs <= 0) return client.execute(request);
      const key = keyOf(client, request, scope);
      const beganAt = now();
      const known = underWay.get(key);
      if (known && beganAt - known.beganAt <= windowMs) return join(known, client, request);
      const own: Read = { beganAt, request, joined: null };
      underWay.set(key, own);
      try {
        const response = await client.execute(request);
        // Before whoever asked first goes on, who may change what it got.
        for (const settle of own.joined ?? []) settle({ response });
        return response;
      } catch (error) {
        for (const settle of own.joined ?? []) settle({ error });
        throw error;
      } finally {
        if (underWay.get(key) === own) underWay.delete(key);
      }
    },
    async write(client, request) {
      underWay.clear();
      try {
        return await client.execute(request);
      } finally {
        underWay.clear();
      }
    },
  };
}

function copy(response: SubgraphResponse): SubgraphResponse {
  const { data } = response;
  // A copy of an object is one.
  return data ? { ...response, data: copyValue(data) as Record<string, unknown> } : { ...response };
}

/** What comes from a subgraph is JSON, or what becomes JSON: other objects are leaves, which nobody changes. */
function copyValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(copyValue);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  const result: Record<string, unknown> = {};
  // Shown to be a plain object.
  const source = value as Record<string, unknown>;
  for (const key in source) result[key] = copyValue(source[key]);
  return result;
}
