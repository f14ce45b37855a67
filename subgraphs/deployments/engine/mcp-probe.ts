import type { Dispatcher } from "undici";

/** Each event of a stream costs the client far more than its bytes say. */
const MAX_STREAM_LINES = 10_000;
const NEWLINE = 0x0a;

/**
 * One real MCP call to a server on Streamable HTTP, in whichever protocol era it speaks: connects, lists its tools where it has
 * any, and ends the session. Answers what was asked. Throws when any of it fails. Redirects are not followed. Of all that is answered
 * `maxBytes` are read, unpacked: the rest is refused by what `tooLarge` makes.
 */
export async function probeMcp(options: {
  url: URL;
  headers: Record<string, string>;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  maxBytes: number;
  tooLarge: () => Error;
}): Promise<string> {
  const { url, headers, dispatcher, signal, maxBytes, tooLarge } = options;
  // Loaded when the first server of this sort is probed: most installations have none, and it takes long to load.
  const [{ Client, StreamableHTTPClientTransport }, undici] = await Promise.all([
    import("@modelcontextprotocol/client"),
    import("undici"),
  ]);
  // The client reads answers whole, of whatever length.
  let bytes = 0;
  let lines = 0;
  let overrun: Error | null = null;
  const overran = new AbortController();
  const counter = (isStream: boolean) =>
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (isStream) for (const byte of chunk) if (byte === NEWLINE) lines++;
        if (bytes <= maxBytes && lines <= MAX_STREAM_LINES) return controller.enqueue(chunk);
        overran.abort((overrun ??= tooLarge()));
        controller.error(overrun);
      },
    });
  const deadline = AbortSignal.any([signal, overran.signal]);
  const transport = new StreamableHTTPClientTransport(url, {
    requestInit: { headers, redirect: "manual" },
    fetch: async (input, init) => {
      // undici's own fetch takes the dispatcher; its types and the global ones name the same things twice.
      const response = await undici.fetch(String(input), {
        ...init,
        dispatcher,
        redirect: "manual",
        signal: init?.signal ? AbortSignal.any([deadline, init.signal]) : deadline,
      } as unknown as Parameters<typeof undici.fetch>[1]);
      const { status, statusText, headers: answered } = response;
      const isStream = answered.get("content-type")?.startsWith("text/event-stream") ?? false;
      const body = response.body?.pipeThrough(counter(isStream));
      return new undici.Response(body, { status, statusText, headers: answered }) as unknown as Response;
    },
    reconnectionOptions: {
      maxRetries: 0,
      initialReconnectionDelay: 1,
      maxReconnectionDelay: 1,
      reconnectionDelayGrowFactor: 1,
    },
  });
  const client = new Client({ name: "toolyard-probe", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const talk = async (): Promise<string> => {
    await client.connect(transport, { signal: deadline });
    if (!client.getServerCapabilities()?.tools) return "mcp connect";
    await client.listTools(undefined, { signal: deadline, cacheMode: "bypass" });
    return "mcp tools/list";
  };
  // The client does not always end by the signal, as where it waits for an answer on a stream that ended.
  const ended = new Promise<never>((_, reject) => {
    deadline.addEventListener("abort", () => reject(deadline.reason as Error), { once: true });
  });
  try {
    return await Promise.race([talk(), ended]);
  } catch (error) {
    // The client has its own words for what it could not read.
    throw overrun ?? error;
  } finally {
    // A server of the older era keeps a session for us until it is told; that it cannot be told is its own matter.
    await transport.terminateSession().catch(() => undefined);
    await client.close();
  }
}
