import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { ToolyardError } from "@toolyard/service-kit";
import { parseSubgraphResponse } from "./http-client.ts";
import type { OperationContext, SubgraphRequest, SubgraphResponse } from "./subgraph-client.ts";

export interface HttpSubscriberOptions {
  name: string;
  url: URL;
  headersFor(context: OperationContext): Promise<Record<string, string>> | Record<string, string>;
  connectTimeoutMs: number;
  maxBufferedEvents: number;
}

export interface HttpSubscriber {
  subscribe(request: SubgraphRequest): AsyncIterable<SubgraphResponse>;
  close(): Promise<void>;
}

/**
 * Subscribes to a subgraph by graphql-transport-ws. Every stream has a socket of its own: the caller travels in the headers of its
 * upgrade, and a stream that the client reads slowly holds back no other.
 */
export function createHttpSubscriber(options: HttpSubscriberOptions): HttpSubscriber {
  const { name, headersFor, connectTimeoutMs, maxBufferedEvents } = options;
  const url = new URL(options.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const open = new Set<() => Promise<void>>();

  async function* subscribe({ query, variables, context, signal }: SubgraphRequest): AsyncGenerator<SubgraphResponse> {
    const headers = await headersFor(context);
    let socket = null as WebSocket | null;
    class CallerSocket extends WebSocket {
      constructor(address: string | URL, protocols?: string | string[]) {
        super(address, protocols, {
          headers: { ...context.headers, ...headers },
          handshakeTimeout: connectTimeoutMs,
          followRedirects: false,
        });
      }
    }
    const client = createClient({
      url: url.href,
      webSocketImpl: CallerSocket,
      connectionParams: headers,
      lazy: true,
      // Resuming is the client's: only it knows after which sequence.
      retryAttempts: 0,
      connectionAckWaitTimeout: connectTimeoutMs,
      onNonLazyError: () => undefined,
      on: {
        opened: (opened) => {
          if (opened instanceof WebSocket) socket = opened;
        },
      },
    });
    const queue: SubgraphResponse[] = [];
    let end: { error: unknown } | "complete" | null = null;
    let wake: (() => void) | null = null;
    const notify = () => {
      wake?.();
      wake = null;
    };
    const finish = (how: { error: unknown } | "complete") => {
      end ??= how;
      notify();
    };
    const onAbort = () => finish("complete");
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    const unsubscribe = client.subscribe(
      { query, variables },
      {
        next(result) {
          const response = parseSubgraphResponse(result);
          if (!response) return finish({ error: broken(name, "it sent something that is not a GraphQL response") });
          queue.push(response);
          // What the socket does not read, the subgraph's own socket holds back.
          if (queue.length >= maxBufferedEvents) socket?.pause();
          notify();
        },
        error(error) {
          if (!Array.isArray(error)) return finish({ error: broken(name, "its socket closed", error) });
          const response = parseSubgraphResponse({ errors: error });
          if (response) queue.push(response);
          finish("complete");
        },
        complete: () => finish("complete"),
      },
    );
    const release = async () => {
      signal.removeEventListener("abort", onAbort);
      unsubscribe();
      open.delete(release);
      await client.dispose();
    };
    open.add(release);
    try {
      while (true) {
        const response = queue.shift();
        if (response) {
          if (queue.length * 2 < maxBufferedEvents) resumeSocket(socket);
          yield response;
          continue;
        }
        if (end === "complete") return;
        if (end !== null) throw (end as { error: unknown }).error;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      await release();
    }
  }

  return {
    subscribe,
    async close() {
      await Promise.all([...open].map((release) => release()));
    },
  };
}

function resumeSocket(socket: WebSocket | null): void {
  if (socket?.isPaused) socket.resume();
}

function broken(name: string, what: string, cause?: unknown): ToolyardError {
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The stream of the subgraph "${name}" broke: ${what}.`, { cause });
}
