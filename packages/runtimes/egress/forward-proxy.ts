import { lookup } from "node:dns";
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, isIP } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream";
import type { EgressList } from "@toolyard/launch/egress-list.ts";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { CONNECTION_HEADERS } from "@toolyard/service-kit/http/connection-headers.ts";
import { bareHost } from "@toolyard/service-kit/http/hosts.ts";
import { checkedLookup, isPrivateAddress } from "@toolyard/service-kit/http/private-addresses.ts";

const CONNECT_TIMEOUT_MS = 30_000;
const TIMED_OUT = "ETIMEDOUT";
const HEADERS_TIMEOUT_MS = 15_000;
/** Of a name, with the dot of the root (RFC 1035, section 2.3.4). */
const MAX_HOST = 254;
/** Those of one connection, and `Host`, which is the request target's (RFC 9112, section 3.2.2). */
const NOT_PASSED = new Set([...CONNECTION_HEADERS, "expect", "host"]);

interface Target {
  host: string;
  port: number;
}

class Refusal extends Error {
  override readonly name = "Refusal";
}

/**
 * A forward proxy (CONNECT, and requests of absolute `http:` URLs; RFC 9110, section 9.3.6) to the hosts of a list. Names are resolved here. A
 * private address is connected to only where the list has it, whatever name led to it; it is judged where the connection is made.
 */
export function createForwardProxy(options: {
  list: EgressList;
  /** Told of each request that is not passed on: for which host and port. */
  onRefused: (target: string) => void;
  resolve?: typeof lookup;
}): Server {
  const { list, onRefused, resolve = lookup } = options;

  /** How to reach a target. @throws Refusal */
  function way({ host, port }: Target) {
    if (!list.allows(host, port))
      throw new Refusal(`${written({ host, port })} is not among the hosts that this server may reach.`);
    const refuse = (name: string, address: string) =>
      isPrivateAddress(address) && !list.hasAddress(address, port)
        ? new Refusal(
            `${name} leads to the private address ${address}, which is not among those that this server may reach.`,
          )
        : null;
    return { host, port, lookup: checkedLookup(resolve, refuse) };
  }

  function statusOf(error: unknown, target: Target): { status: 403 | 502; message: string } {
    if (error instanceof Refusal) {
      onRefused(written(target));
      const message = `${error.message} Its launch names them: options.egress.allow.\n`;
      return { status: 403, message };
    }
    const code = systemCodeOf(error) ?? "the connection broke";
    return { status: 502, message: `${written(target)} cannot be reached (${code}).\n` };
  }

  function tunnel(asked: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const target = targetOf(URL.parse(`http://${asked.url ?? ""}`), asked.url ?? "");
    if (target === null) return answer(socket, 400, "Name a host and a port, as in CONNECT example.com:443.\n");
    const fail = (error: unknown) => {
      const { status, message } = statusOf(error, target);
      answer(socket, status, message);
    };
    try {
      const upstream = connect({ ...way(target), allowHalfOpen: true, noDelay: true });
      upstream.setTimeout(CONNECT_TIMEOUT_MS, () => upstream.destroy(timedOut()));
      upstream.once("error", fail);
      socket.once("close", () => upstream.destroy());
      upstream.once("connect", () => {
        upstream.off("error", fail).setTimeout(0);
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        if (head.length > 0) upstream.write(head);
        pipeline(socket, upstream, socket, () => undefined);
      });
    } catch (error) {
      fail(error);
    }
  }

  function pass(asked: IncomingMessage, response: ServerResponse): void {
    const url = URL.parse(asked.url ?? "");
    const target = url?.protocol === "http:" ? targetOf(url, url.port === "" ? `${url.host}:80` : url.host) : null;
    if (url === null || target === null) {
      response.writeHead(400).end("This is a forward proxy: CONNECT, or name an absolute http:// URL.\n");
      return;
    }
    const fail = (error: unknown) => {
      if (response.headersSent) return void response.destroy();
      const { status, message } = statusOf(error, target);
      response.writeHead(status, { "content-type": "text/plain", connection: "close" }).end(message);
    };
    try {
      const outgoing = request({
        ...way(target),
        method: asked.method,
        path: url.pathname + url.search,
        headers: ["Host", url.host, ...framing(asked), ...passed(asked)],
        agent: false,
        timeout: CONNECT_TIMEOUT_MS,
      });
      outgoing.once("socket", (socket) => socket.once("connect", () => outgoing.setTimeout(0)));
      outgoing.once("timeout", () => outgoing.destroy(timedOut()));
      outgoing.once("response", (incoming) => {
        try {
          response.writeHead(incoming.statusCode ?? 502, passed(incoming));
          pipeline(incoming, response, () => undefined);
        } catch (error) {
          fail(error); // Its status is none that can be passed on.
        }
      });
      outgoing.once("error", fail);
      response.once("close", () => outgoing.destroy());
      asked.pipe(outgoing);
    } catch (error) {
      fail(error);
    }
  }

  const server = createServer({ requestTimeout: 0, headersTimeout: HEADERS_TIMEOUT_MS }, pass);
  return server.on("connect", tunnel);
}

/** @param authority As it was written: a URL forgets a port that is its scheme's */
function targetOf(url: URL | null, authority: string): Target | null {
  const port = Number(/:(\d{1,5})$/.exec(authority)?.[1] ?? 0);
  if (url === null || url.username !== "" || url.password !== "" || port < 1 || port > 65_535) return null;
  if (url.hostname === "" || url.hostname.length > MAX_HOST) return null;
  return { host: bareHost(url.hostname), port };
}

const timedOut = (): Error => Object.assign(new Error(), { code: TIMED_OUT });

const written = ({ host, port }: Target): string => `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;

/** Says where the body ends, also of methods that rarely have one: without it their body would be read as further requests. */
const framing = ({ headers }: IncomingMessage): string[] =>
  headers["transfer-encoding"] === undefined ? [] : ["Transfer-Encoding", "chunked"];

/** Headers that go on, as names and values in turn. */
function passed({ rawHeaders, headers }: IncomingMessage): string[] {
  const ofConnection = new Set(headers.connection?.toLowerCase().split(/\s*,\s*/));
  return rawHeaders.filter((_, index) => {
    const name = rawHeaders[index - (index % 2)]?.toLowerCase() ?? "";
    return !NOT_PASSED.has(name) && (name === "content-length" || !ofConnection.has(name));
  });
}

function answer(socket: Duplex, status: 400 | 403 | 502, message: string): void {
  const reason = { 400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway" }[status];
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(message)}\r\nConnection: close\r\n\r\n${message}`,
  );
}
