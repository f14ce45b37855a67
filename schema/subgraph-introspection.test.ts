import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import { introspectSubgraph } from "./subgraph-introspection.ts";

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  // A TCP server's address is never a pipe's string.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const ask = (url: string, timeoutMs?: number) =>
  introspectSubgraph(
    { kind: "introspection", url, headers: { "x-key": "hush" } },
    { ...(timeoutMs !== undefined && { timeoutMs }) },
  );

test("asks with the headers and takes the schema", async () => {
  const url = await serve((request, response) => {
    const sdl = `# ${String(request.method)} ${String(request.headers["x-key"])}`;
    response.end(JSON.stringify({ data: { _service: { sdl } } }));
  });
  expect(await ask(url)).toBe("# POST hush");
});

test.each<[string, RequestListener, RegExp]>([
  [
    "errors",
    (_, r) => r.end('{"errors":[{"message":"Cannot query field \\"_service\\""}]}'),
    /without `_service\.sdl`: Cannot query/,
  ],
  ["no JSON", (_, r) => r.writeHead(502).end("<html>"), /HTTP 502 with something that is not JSON/],
  ["an empty schema", (_, r) => r.end('{"data":{"_service":{"sdl":""}}}'), /without/],
  ["another place", (_, r) => r.writeHead(302, { location: "http://127.0.0.1:9/" }).end(), /redirect/],
  ["silence", () => undefined, /did not answer within 0\.3 s/],
  ["half an answer", (_, r) => void r.write('{"data":'), /did not answer within 0\.3 s/],
  ["a broken connection", (request) => request.socket.destroy(), /the connection failed/],
])("%s is refused with the reason, without the headers", async (_name, listener, reason) => {
  const failure = await ask(await serve(listener), 300).catch((error: Error) => error);
  expect(failure).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", message: expect.stringMatching(reason) });
  expect(String(failure)).not.toContain("hush");
});
