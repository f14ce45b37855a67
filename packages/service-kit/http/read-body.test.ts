import { once } from "node:events";
import { createServer, IncomingMessage, type Server } from "node:http";
import { connect, Socket, type AddressInfo } from "node:net";
import { heapGrownBy } from "@toolyard/testing/heap.ts";
import { afterEach, expect, test } from "vitest";
import { ToolyardError } from "../errors/errors.ts";
import { readBody } from "./read-body.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** A request whose client has sent this much of itself, and the client. */
async function sent(head: string, body: string | Buffer = ""): Promise<{ request: IncomingMessage; client: Socket }> {
  const server = createServer();
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // A TCP server's address is never a pipe's string.
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1").on("error", () => undefined);
  client.write(`POST / HTTP/1.1\r\nHost: localhost\r\n${head}\r\n\r\n`);
  client.write(body);
  const [request] = (await once(server, "request")) as [IncomingMessage];
  return { request, client };
}
const chunked = (...chunks: (string | Buffer)[]) =>
  Buffer.concat(
    [...chunks.map((chunk) => Buffer.from(chunk)), Buffer.alloc(0)].flatMap((chunk) => [
      Buffer.from(`${chunk.length.toString(16)}\r\n`),
      chunk,
      Buffer.from("\r\n"),
    ]),
  );
const CHUNKED = "Transfer-Encoding: chunked";

test("a body is read whole, a character that two chunks share among it", async () => {
  const [one, other] = [Buffer.from("h\u00e9llo").subarray(0, 2), Buffer.from("h\u00e9llo").subarray(2)];
  expect(await readBody((await sent(CHUNKED, chunked(one, other))).request, 100)).toBe("h\u00e9llo");
  expect(await readBody((await sent("Content-Length: 0")).request, 100)).toBe("");
});

test("as many bytes as are allowed are read, and one more is refused", async () => {
  const { request } = await sent(CHUNKED, chunked("12345", "67890"));
  expect(await readBody(request, 10)).toBe("1234567890");
  const larger = await sent(CHUNKED, chunked("12345", "678901"));
  await expect(readBody(larger.request, 10)).rejects.toMatchObject({
    code: "PAYLOAD_TOO_LARGE",
    message: "The body is larger than 10 bytes.",
  });
});

test("a body that is said to be too large is refused before it comes", async () => {
  const { request } = await sent("Content-Length: 2097152");
  await expect(readBody(request, 1_048_576)).rejects.toMatchObject({ message: "The body is larger than 1 MiB." });
});

test("a body that is not in UTF-8 is refused; the character that stands for such bytes may be sent", async () => {
  await expect(
    readBody((await sent(CHUNKED, chunked(Buffer.from([0x22, 0xff, 0x22])))).request, 100),
  ).rejects.toMatchObject({ code: "BAD_USER_INPUT", message: "The body is not in UTF-8." });
  expect(await readBody((await sent(CHUNKED, chunked("\uFFFD"))).request, 100)).toBe("\uFFFD");
});

test("a client that leaves while it sends, or left before, is told from one that sent all", async () => {
  for (const isBefore of [false, true]) {
    const { request, client } = await sent("Content-Length: 100", "half");
    const outcome = isBefore ? null : expect(readBody(request, 100)).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
    const closed = new Promise((resolve) => request.once("close", resolve).once("error", () => undefined));
    client.destroy();
    await closed;
    await (outcome ?? expect(readBody(request, 100)).rejects.toThrow("The body ended early."));
  }
});

test("a body in parts of a byte takes little more room than its bytes", async () => {
  const part = (at: number) => Buffer.from([97 + (at % 26)]);
  const request = new IncomingMessage(new Socket());
  const read = readBody(request, 1_000_000);
  // It flows from the next tick on.
  await new Promise(setImmediate);
  // A list of the parts has forty megabytes.
  const grownBy = await heapGrownBy(() => {
    for (let at = 0; at < 300_000; at++) request.push(part(at));
  });
  expect(grownBy).toBeLessThan(8_000_000);
  request.push(null);
  const all = Buffer.from(Array.from({ length: 300_000 }, (_, at) => 97 + (at % 26)));
  expect((await read) === all.toString()).toBe(true);
});

test("room is asked for each part as it comes, and where there is none nothing more is read", async () => {
  const request = new IncomingMessage(new Socket());
  let taken = 0;
  const read = readBody(request, 100, (bytes) => {
    taken += bytes;
    if (taken > 10) throw new ToolyardError("CAPACITY_EXHAUSTED", "No room.");
  });
  for (const part of ["12345", "67890", "1", "2"]) request.push(Buffer.from(part));
  await expect(read).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
  expect(taken).toBe(11);
});
