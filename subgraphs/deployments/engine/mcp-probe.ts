import type { Dispatcher } from "undici";

/**
 * One real MCP call to a server on Streamable HTTP, in whichever protocol era it speaks: connects, lists its tools where it has
 * any, and ends the session. Answers what was asked. Throws when any of it fails. Redirects are not followed.
 */
export async function probeMcp(options: {
  url: URL;
  headers: Record<string, string>;
  dispatcher: Dispatcher;
  signal: AbortSignal;
}): Promise<string> {
  const { url, headers, dispatcher, signal } = options;
  // Loaded when the first server of this sort is probed: most installations have none, and it takes long to load.
  const [{ Client, StreamableHTTPClientTransport }, undici] = await Promise.all([
    import("@modelcontextprotocol/client"),
    import("undici"),
  ]);
  const transport = new StreamableHTTPClientTransport(url, {
    requestInit: { headers, redirect: "manual" },
    fetch: async (input, init) => {
      // undici's own fetch takes the dispatcher; its types and the global ones name the same things twice.
      const response = await undici.fetch(String(input), {
        ...init,
        dispatcher,
        redirect: "manual",
      } as unknown as Parameters<typeof undici.fetch>[1]);
      return response as unknown as Response;
    },
    reconnectionOptions: {
      maxRetries: 0,
      initialReconnectionDelay: 1,
      maxReconnectionDelay: 1,
      reconnectionDelayGrowFactor: 1,
    },
  });
  const client = new Client({ name: "toolyard-probe", version: "1" }, { versionNegotiation: { mode: "auto" } });
  // The deadline is the signal's: it also ends requests that carry no signal of their own.
  const abort = () => void client.close();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await client.connect(transport, { signal });
    if (!client.getServerCapabilities()?.tools) return "mcp connect";
    await client.listTools(undefined, { signal, cacheMode: "bypass" });
    return "mcp tools/list";
  } finally {
    signal.removeEventListener("abort", abort);
    // A server of the older era keeps a session for us until it is told; that it cannot be told is its own matter.
    await transport.terminateSession().catch(() => undefined);
    await client.close();
  }
}
