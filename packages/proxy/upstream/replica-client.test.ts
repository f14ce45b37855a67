import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { buildConnector, Pool } from "@toolyard/service-kit/http/undici.ts";
import { eventually } from "@toolyard/testing";
import type { Dispatcher } from "undici";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createReplicaClient, type ReplicaClient } from "./replica-client.ts";

/** What a handler was told, in order. */
type Told = ["begin"] | ["head", number] | ["data", string] | ["end"] | ["error", string];

interface Sent {
  told: Told[];
  controller: Dispatcher.DispatchController;
  /** Resolves when it has ended, with the last that was told. */
  ended: Promise<Told>;
}

const IDLE_MS = 300;
let server: Server;
let sockets: Socket[];
let requests: string[];
/** What a connection's server does with the requests that it has got so far. */
let serve: (socket: Socket, request: string, connection: number) => void;
let client: ReplicaClient;
let pool: Pool;
let others: string[];

beforeEach(async () => {
  [sockets, requests, others] = [[], [], []];
  server = createServer({ noDelay: true }, (socket) => {
    const connection = sockets.push(socket) - 1;
    socket
      .on("error", () => undefined)
      .on("data", (bytes) => {
        const request = bytes.toString("latin1");
        requests.push(request);
        serve(socket, request, connection);
      });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  serve = (socket) => void socket.write(answerOf("fine"));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  pool = new Pool(origin);
  client = createReplicaClient({
    origin,
    connect: buildConnector({ timeout: 5_000 }),
    idleMs: IDLE_MS,
    others: () => ({
      dispatch(options, handler) {
        others.push(`${options.method} ${options.path}`);
        return pool.dispatch(options, handler);
      },
    }),
  });
});
afterEach(async () => {
  client.destroy();
  await pool.destroy();
  for (const socket of sockets) socket.destroy();
  server.close();
});

const firstIsClosed = () => eventually("the connection is closed", () => sockets[0]?.closed);

const answerOf = (body: string, more = ""): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n${more}\r\n${body}`;

function send(
  options: Partial<Dispatcher.DispatchOptions> = {},
  onData?: (sent: Sent) => void,
  over: ReplicaClient = client,
): Sent {
  const told: Told[] = [];
  const ended = Promise.withResolvers<Told>();
  const sent: Sent = { told, controller: null as unknown as Dispatcher.DispatchController, ended: ended.promise };
  const tell = (what: Told, isLast = false): void => {
    told.push(what);
    if (isLast) ended.resolve(what);
  };
  over.dispatch(
    { method: "POST", path: "/mcp", headers: ["a", "b"], body: Buffer.from("{}"), ...options },
    {
      onRequestStart(controller) {
        sent.controller = controller;
        tell(["begin"]);
      },
      onResponseStart: (_controller, status) => tell(["head", status]),
      onResponseData(_controller, chunk) {
        tell(["data", chunk.toString()]);
        onData?.(sent);
      },
      onResponseEnd: () => tell(["end"], true),
      onResponseError: (_controller, error) =>
        tell(["error", (error as NodeJS.ErrnoException).code ?? error.message], true),
    },
  );
  return sent;
}

const whole: Told[] = [["begin"], ["head", 200], ["data", "fine"], ["end"]];

test("a request is sent as it is, and the next takes the same connection", async () => {
  for (const body of ["{}", "x".repeat(20_000)]) {
    requests = [];
    const sent = send({ path: "/mcp?a=\xe4", headers: ["x-a", "1", "x-b", "\xfc"], body: Buffer.from(body) });
    await sent.ended;
    expect(sent.told).toEqual(whole);
    const port = (server.address() as AddressInfo).port;
    expect(requests.join("")).toBe(
      `POST /mcp?a=\xe4 HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nconnection: keep-alive\r\nx-a: 1\r\nx-b: \xfc\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
  }
  expect(sockets).toHaveLength(1);
});

test("a GET has no length, and takes the connection of a POST", async () => {
  await send().ended;
  const sent = send({ method: "GET", body: null });
  await sent.ended;
  expect(sent.told).toEqual(whole);
  expect(requests[1]).toMatch(/^GET \/mcp HTTP\/1\.1\r\nhost: \S+\r\nconnection: keep-alive\r\na: b\r\n\r\n$/);
  expect(sockets).toHaveLength(1);
});

test("requests that are under way at once have a connection each", async () => {
  const all = Array.from({ length: 5 }, () => send());
  for (const { ended, told } of all) {
    await ended;
    expect(told).toEqual(whole);
  }
  expect(sockets).toHaveLength(5);
});

test.each([
  ["says that it closes the connection", answerOf("fine", "connection: close\r\n")],
  ["speaks HTTP/1.0", answerOf("fine").replace("1.1", "1.0")],
  ["sends something after its answer", `${answerOf("fine")}HTTP/1.1 200 OK\r\n\r\n`],
  ["keeps no idle connection", answerOf("fine", "keep-alive: timeout=0\r\n")],
])("the next request goes over a connection of its own where the server %s", async (_what, answer) => {
  serve = (socket) => void socket.write(answer);
  for (let count = 1; count <= 3; count++) {
    const sent = send();
    await sent.ended;
    expect(sent.told).toEqual(whole);
    expect(sockets).toHaveLength(count);
  }
});

test("bytes that nobody asked for end the connection, and are nobody's answer", async () => {
  await send().ended;
  sockets[0]?.write(answerOf("of another"));
  await firstIsClosed();
  const sent = send();
  await sent.ended;
  expect(sent.told).toEqual(whole);
  expect(sockets).toHaveLength(2);
});

test("no request is sent over a connection whose end is read before it", async () => {
  const opened: { socket: Duplex; requests: number }[] = [];
  const mine = createReplicaClient({
    origin: "http://localhost",
    connect(_target, done) {
      const one = { socket: new Duplex({ read: () => undefined, write: answer }), requests: 0 };
      function answer(_bytes: unknown, _encoding: unknown, written: () => void): void {
        one.requests += 1;
        one.socket.push(answerOf("fine"));
        written();
      }
      opened.push(one);
      // The client uses of a socket what all streams have.
      done(null, one.socket as Socket);
    },
    idleMs: IDLE_MS,
    others: () => pool,
  });
  await send({}, undefined, mine).ended;
  const next = send({}, undefined, mine);
  opened[0]?.socket.push(null);
  expect(await next.ended).toEqual(["end"]);
  expect(opened.map(({ requests: count }) => count)).toEqual([1, 1]);
  mine.destroy();
});

test("an idle connection is closed after its time", async () => {
  await send().ended;
  await firstIsClosed();
  expect((await send().ended)[0]).toBe("end");
  expect(sockets).toHaveLength(2);
});

test("a reader that takes no more gets no more until it does, whatever has come", async () => {
  serve = (socket) =>
    void socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
  const sent = send({ bodyTimeout: 50 }, ({ controller }) => controller.pause());
  for (const [index, text] of ["a", "b", "c"].entries()) {
    await eventually(`${text} has come`, () => sent.told.length === index + 3);
    // A further exchange over the same server shows that time has passed for this one, too.
    await send().ended;
    expect(sent.told.slice(index + 2)).toEqual([["data", text]]);
    sent.controller.resume();
  }
  expect(await sent.ended).toEqual(["end"]);
});

test("all of an answer comes to a slow reader, also where its server has ended the connection meanwhile", async () => {
  let end = (): void => undefined;
  serve = (socket) => {
    end = () => socket.end("1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
    socket.write("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n");
  };
  const sent = send({}, ({ controller }) => {
    controller.pause();
    if (sent.told.at(-1)?.[1] === "a") end();
    // The end is there before the reader goes on.
    setImmediate(setImmediate, () => controller.resume());
  });
  expect(await sent.ended).toEqual(["end"]);
  expect(sent.told.slice(2)).toEqual([["data", "a"], ["data", "b"], ["data", "c"], ["end"]]);
});

test("however an answer is cut, and however often its reader pauses, all of it comes", async () => {
  const parts = fc.array(fc.string({ unit: fc.constantFrom("a", "\r", "\n", "0"), minLength: 1, maxLength: 30 }), {
    maxLength: 8,
  });
  const cuts = fc.array(fc.nat(400), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(
      parts,
      cuts,
      fc.boolean(),
      fc.boolean(),
      fc.array(fc.boolean(), { minLength: 1 }),
      async (...drawn) => {
        const [chunks, places, isChunked, closes, pauses] = drawn;
        const body = chunks.join("");
        const head = `HTTP/1.1 200 OK\r\n${closes ? "connection: close\r\n" : ""}`;
        const inChunks = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
        const answer = isChunked
          ? `${head}transfer-encoding: chunked\r\n\r\n${inChunks}0\r\n\r\n`
          : `${head}content-length: ${body.length}\r\n\r\n${body}`;
        const ends = [...places.map((place) => place % answer.length), answer.length].toSorted((a, b) => a - b);
        serve = (socket) => {
          ends.forEach((end, index) => socket.write(answer.slice(ends[index - 1] ?? 0, end)));
          if (closes) socket.end();
        };
        let turn = 0;
        const sent = send({}, ({ controller }) => {
          if (pauses[turn++ % pauses.length] !== true) return;
          controller.pause();
          setImmediate(setImmediate, () => controller.resume());
        });
        expect(await sent.ended).toEqual(["end"]);
        const data = sent.told.flatMap(([kind, text]) => (kind === "data" ? [text] : []));
        expect(data.join("")).toBe(body);
      },
    ),
    { numRuns: 100 },
  );
});

test("a server at an IPv6 address is reached", async () => {
  const there = createServer((socket) => socket.on("data", () => socket.end(answerOf("fine")))).listen(0, "::1");
  await once(there, "listening");
  const own = createReplicaClient({
    origin: `http://[::1]:${(there.address() as AddressInfo).port}`,
    connect: buildConnector({ timeout: 5_000 }),
    idleMs: IDLE_MS,
    others: () => pool,
  });
  expect(await send({}, undefined, own).ended).toEqual(["end"]);
  own.destroy();
  there.close();
});

test("while it connects, too, a request fails as the client is destroyed", async () => {
  const own = createReplicaClient({
    origin: "http://localhost",
    connect: () => undefined,
    idleMs: IDLE_MS,
    others: () => pool,
  });
  const sent = send({}, undefined, own);
  own.destroy();
  expect(await sent.ended).toEqual(["error", "UND_ERR_DESTROYED"]);
});

test("an aborted request fails with the reason, and its connection is closed", async () => {
  serve = (socket) => void socket.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine");
  const sent = send({}, ({ controller }) => controller.abort(new Error("It is enough.")));
  expect(await sent.ended).toEqual(["error", "It is enough."]);
  await firstIsClosed();
});

test.each([
  ["no head", "HTTP/1.1 200 OK\r\n", "UND_ERR_HEADERS_TIMEOUT"],
  ["nothing more of a body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine", "UND_ERR_BODY_TIMEOUT"],
])("a server from which there comes %s in time is given up", async (_what, answer, code) => {
  serve = (socket) => void socket.write(answer);
  expect(await send({ headersTimeout: 100, bodyTimeout: 100 }).ended).toEqual(["error", code]);
  await firstIsClosed();
});

test.each([
  ["before it answers", "", "UND_ERR_SOCKET"],
  ["within the head", "HTTP/1.1 200", "UND_ERR_SOCKET"],
  ["within the body", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfine", "UND_ERR_SOCKET"],
  ["within a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nfine", "UND_ERR_SOCKET"],
])("a server that ends the connection %s has not answered", async (_what, answer, code) => {
  serve = (socket) => void socket.end(answer);
  expect(await send().ended).toEqual(["error", code]);
});

test("an answer may end with its connection", async () => {
  serve = (socket) => void socket.end("HTTP/1.1 200 OK\r\n\r\nfine");
  const sent = send();
  await sent.ended;
  expect(sent.told).toEqual(whole);
});

test("what is no answer fails the request and ends the connection", async () => {
  serve = (socket) => void socket.write("ICY 200 OK\r\n\r\n");
  expect(await send().ended).toEqual(["error", "answered something that is not HTTP/1"]);
  await firstIsClosed();
});

test("where nothing listens, nothing has begun", async () => {
  server.close();
  await once(server, "close");
  const sent = send();
  expect(await sent.ended).toEqual(["error", "ECONNREFUSED"]);
  expect(sent.told).toHaveLength(1);
});

test("other requests, and those that are malformed, are the pool's", async () => {
  await send({ method: "PUT" }).ended;
  expect(others).toEqual(["PUT /mcp"]);
  for (const headers of [
    ["a", "b\r\nc: d"],
    ["a\r\nc", "d"],
    ["a", "b\0"],
  ])
    expect((await send({ headers }).ended)[1]).toBe("UND_ERR_INVALID_ARG");
  expect((await send({ path: "/a b" }).ended)[1]).toBe("UND_ERR_INVALID_ARG");
  expect(requests.filter((request) => request.startsWith("POST"))).toEqual([]);
});

test("closed, it ends with its last request; destroyed, at once", async () => {
  let answer: (() => void) | undefined;
  serve = (socket) => void (answer = () => socket.write(answerOf("fine")));
  const running = send();
  await eventually("the request is there", () => answer);
  client.close();
  answer?.();
  await running.ended;
  expect(running.told).toEqual(whole);
  await firstIsClosed();
  answer = undefined;
  const cut = send();
  await eventually("the request is there", () => answer);
  client.destroy();
  expect(await cut.ended).toEqual(["error", "UND_ERR_DESTROYED"]);
  expect(await send().ended).toEqual(["error", "UND_ERR_DESTROYED"]);
});
