import { callerKey } from "@toolyard/service-kit";
import type {
  OperationContext,
  SubgraphClient,
  SubgraphRequest,
  SubgraphResponse,
} from "../clients/subgraph-client.ts";

export interface SharedReadsOptions {
  /**
   * A read that is under way is joined when it began no longer than this ago. Its answer was true when the read began, so
   * this is also how old an answer may be; 0 turns sharing off.
   */
  windowMs?: number;
  /** False where a subgraph is told nothing of callers but the headers that are passed on: then the same headers are the same reader. */
  isByCaller?: boolean;
  /** Milliseconds on a clock that only goes forward. */
  now?: () => number;
}

/**
 * Identical reads of one subgraph on behalf of one caller, as far as the subgraph can tell, become one request, within an operation and across operations. After a
 * mutation no read that began before its end is joined any more, so a client that writes and then reads finds what it wrote.
 */
export interface SharedReads {
  /**
   * On whose behalf something is read: everything that an answer may depend on, except the question itself. Properties that only
   * identify the request, such as its id, are left out.
   * @param scope reads are shared within the same scope only: that of one event of a subscription, or ""
   */
  readerOf(context: OperationContext, scope: string): string;
  read(
    client: SubgraphClient,
    request: SubgraphRequest & { variablesText: string },
    reader: string,
  ): Promise<SubgraphResponse>;
  write(client: SubgraphClient, request: SubgraphRequest): Promise<SubgraphResponse>;
}

interface Read {
  client: SubgraphClient;
  beganAt: number;
  request: SubgraphRequest;
  /** Null until another request joined. */
  joined: ((settled: { response: SubgraphResponse } | { error: unknown }) => void)[] | null;
}

export function createSharedReads(options: SharedReadsOptions): SharedReads {
  const { windowMs = 10, isByCaller = true, now = () => performance.now() } = options;
  /** By query, then by reader: both are the same strings again and again, which are found without looking at all their characters. */
  const underWay = new Map<string, Map<string, Read[]>>();

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

  /** @returns the reads under way for this reader; an empty list when there are none */
  function readsOf(query: string, reader: string): Read[] {
    let byReader = underWay.get(query);
    if (!byReader) underWay.set(query, (byReader = new Map()));
    let reads = byReader.get(reader);
    if (!reads) byReader.set(reader, (reads = []));
    return reads;
  }

  function forget(own: Read, reads: Read[], query: string, reader: string): void {
    const at = reads.indexOf(own);
    if (at >= 0) reads.splice(at, 1);
    if (reads.length > 0) return;
    const byReader = underWay.get(query);
    // After a mutation there may be another list in its place.
    if (byReader?.get(reader) !== reads) return;
    byReader.delete(reader);
    if (byReader.size === 0) underWay.delete(query);
  }

  return {
    readerOf({ caller, headers, clientAddress = "" }, scope) {
      let reader = isByCaller ? `${callerKey(caller)}\n${clientAddress}\n${scope}` : scope;
      for (const name in headers) reader += `\n${name}:${headers[name]}`;
      return reader;
    },
    read(client, request, reader) {
      if (windowMs <= 0) return client.execute(request);
      const { query, variablesText } = request;
      const reads = readsOf(query, reader);
      const beganAt = now();
      for (const known of reads) {
        const isSame = known.client === client && known.request.variablesText === variablesText;
        if (isSame && beganAt - known.beganAt <= windowMs) return join(known, client, request);
      }
      const own: Read = { client, beganAt, request, joined: null };
      reads.push(own);
      const settle = (settled: { response: SubgraphResponse } | { error: unknown }) => {
        forget(own, reads, query, reader);
        for (const tell of own.joined ?? []) tell(settled);
      };
      const response = client.execute(request);
      // Registered first, this runs before the caller continues, which may change the data it got.
      response.then(
        (answer) => settle({ response: answer }),
        (error: unknown) => settle({ error }),
      );
      return response;
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

/** Subgraphs' data is JSON, or becomes JSON: other objects are leaves, which nobody changes. */
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
