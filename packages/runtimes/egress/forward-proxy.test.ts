import type { lookup } from "node:dns";
import { once } from "node:events";
import { createServer, request, type IncomingMessage, type Server } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Server as TcpServer } from "node:net";
import { text } from "node:stream/consumers";
import { createEgressList, type EgressList } from "@toolyard/launch/egress-list.ts";
import { afterEach, expect, test } from "vitest";
import { createForwardProxy } from "./forward-proxy.ts";

const open: TcpServer[] = [];
afterEach(() => {
  for (const server of open.splice(0)) {
    server.close();
    if ("closeAllConnections" in server) (server as Server).closeAllConnections();
  }
});
async function listening(server: TcpServer): Promise<number> {
  open.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** A proxy for which all names lead to `address`, and what it refused. */
async function proxyOf(list: EgressList, address: string) {
  const refused: string[] = [];
  // Of dns.lookup what a connection asks of it.
  const resolve = ((_host: string, _options: object, callback: (error: null, addresses: object[]) => void) =>
    callback(null, [{ address, family: 4 }])) as unknown as typeof lookup;
  const proxy = createForwardProxy({ list, onRefused: (each) => refused.push(each), resolve });
  return { port: await listening(proxy), refused };
}
/** Has loopback, which no list can have: it stands for another private network. */
const withLoopback: EgressList = { allows: (host) => host === "api.example.com", hasAddress: () => true };
/** What a proxy answers to CONNECT, and then to the bytes sent. */
async function tunnel(port: number, target: string, bytes = ""): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n${bytes}`);
  return text(socket);
}
async function get(port: number, url: string, headers: Record<string, string> = {}) {
  const asked = request({ host: "127.0.0.1", port, path: url, headers }).end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, body: await text(response) };
}

test.each(["169.254.169.254", "10.0.0.1", "127.0.0.1", "192.168.1.1", "100.100.100.200"])(
  "a name of the list that leads to %s is refused",
  async (address) => {
    const { port, refused } = await proxyOf(createEgressList(["*.example.com"]), address);
    expect(await tunnel(port, "a.example.com:443")).toMatch(
      /^HTTP\/1.1 403 [^]*a\.example\.com leads to the private address/,
    );
    expect(await get(port, "http://b.example.com/")).toMatchObject({ status: 403 });
    expect(refused).toEqual(["a.example.com:443", "b.example.com:80"]);
  },
);

test("hosts and ports that the list does not have are refused, however they are written", async () => {
  const { port, refused } = await proxyOf(createEgressList(["api.example.com"]), "192.0.2.1");
  for (const target of [
    "example.com:443",
    "api.example.com:22",
    "169.254.169.254:80",
    "[::1]:443",
    "2852039166:80",
    "localhost:80",
  ])
    expect(await tunnel(port, target)).toMatch(/^HTTP\/1.1 403 /);
  expect(refused).toEqual([
    "example.com:443",
    "api.example.com:22",
    "169.254.169.254:80",
    "[::1]:443",
    // What some take for an address is one here.
    "169.254.169.254:80",
    "localhost:80",
  ]);
  const long = `${"a.".repeat(200)}api.example.com:443`;
  for (const target of ["example.com", "user:word@api.example.com:443", "api.example.com:99999", "/", "a b:1", long])
    expect(await tunnel(port, target)).toMatch(/^HTTP\/1.1 400 /);
  expect(await get(port, "/")).toMatchObject({ status: 400 });
  for (const url of ["https://api.example.com/", "http://user:word@api.example.com/", "http://api.example.com:0/"])
    expect(await get(port, url)).toMatchObject({ status: 400 });
});

test("a host of the list is reached by CONNECT and by its URL; headers for the proxy stay here, and Host is the URL's", async () => {
  const server = createServer((asked, response) => {
    response.setHeader("Keep-Alive", "timeout=1");
    response.end(JSON.stringify([asked.url, asked.headers]));
  });
  const target = await listening(server);
  const { port } = await proxyOf(withLoopback, "127.0.0.1");

  expect(
    await tunnel(
      port,
      `api.example.com:${target}`,
      "GET /tunnelled HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
    ),
  ).toMatch(/^HTTP\/1.1 200 [^]*\["\/tunnelled",/);
  const { status, body } = await get(port, `http://api.example.com:${target}/passed?on=1`, {
    host: "elsewhere.example",
    "proxy-authorization": "Basic c2VjcmV0",
    "x-own": "kept",
    connection: "x-hop",
    "x-hop": "1",
  });
  expect(status).toBe(200);
  expect(JSON.parse(body)).toEqual([
    "/passed?on=1",
    { host: `api.example.com:${target}`, "x-own": "kept", connection: "close" },
  ]);
});

test("a host of the list that does not answer is a 502 that says why", async () => {
  const { port, refused } = await proxyOf(withLoopback, "127.0.0.1");
  expect(await tunnel(port, "api.example.com:1")).toMatch(
    /^HTTP\/1.1 502 [^]*api\.example\.com:1 cannot be reached \(ECONNREFUSED\)/,
  );
  expect(refused).toEqual([]);
});

test.each([
  ["GET", "Transfer-Encoding: chunked\r\n\r\n1e\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n\r\n0\r\n\r\n"],
  ["DELETE", "Connection: content-length, close\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n"],
])("the body of a %s is its body there too, no further request", async (method, rest) => {
  const asked: string[] = [];
  const server = createServer((message, response) => {
    void text(message).then((body) => asked.push(`${message.method} ${message.url} ${body}`));
    response.end("done");
  });
  const target = await listening(server);
  const { port } = await proxyOf(withLoopback, "127.0.0.1");
  const socket = connect(port, "127.0.0.1");
  socket.write(`${method} http://api.example.com:${target}/own HTTP/1.1\r\nHost: a\r\n${rest}`);
  await expect.poll(() => asked).toEqual([expect.stringContaining(`${method} /own GET /smuggled HTTP/1.1`)]);
  socket.destroy();
});

test("a host that answers with what is no status does not end the proxy", async () => {
  const target = await listening(
    createTcpServer((socket) => void socket.end("HTTP/1.1 099 \u0001\r\nContent-Length: 0\r\n\r\n")),
  );
  const { port } = await proxyOf(withLoopback, "127.0.0.1");
  expect(await get(port, `http://api.example.com:${target}/`)).toMatchObject({ status: 502 });
  expect(await get(port, "http://elsewhere.test/")).toMatchObject({ status: 403 });
});
