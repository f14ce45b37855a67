import { heapGrownBy } from "@toolyard/testing/heap.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { framed, parse, responses } from "./fixtures/responses.ts";
import { createResponseParser, type WireResponse } from "./response-parser.ts";

test("any responses, cut anywhere, are read as what they are", () => {
  fc.assert(
    fc.property(responses, fc.array(fc.nat(100_000), { maxLength: 30 }), (all, cuts) => {
      const read = parse(Buffer.concat(all.map(({ bytes }) => bytes)), cuts);
      expect(read.problem).toBeNull();
      expect(read.isWithin).toBe(false);
      expect(read.responses).toHaveLength(all.length);
      read.responses.forEach((response, at) => expect(response).toMatchObject(all[at]?.expected ?? {}));
    }),
    { numRuns: 300 },
  );
});

test("byte by byte nothing else is read", () => {
  fc.assert(
    fc.property(responses, (all) => {
      const bytes = Buffer.concat(all.map(({ bytes: own }) => own)).subarray(0, 3_000);
      const cuts = Array.from({ length: bytes.length }, (_, at) => at);
      expect(parse(bytes, cuts)).toEqual(parse(bytes));
    }),
    { numRuns: 100 },
  );
});

test("a response that ends too early is none", () => {
  fc.assert(
    fc.property(framed, fc.nat(), ({ bytes }, cut) => {
      const read = parse(bytes.subarray(0, cut % bytes.length));
      expect(read.responses).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

describe("what is refused", () => {
  const json = "content-type: application/json\r\n";
  const refused: [string, string, RegExp][] = [
    ["another protocol", "SSH-2.0-x\r\n", /not HTTP/],
    ["HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", /not HTTP/],
    ["a status that is a number but no status", "HTTP/1.1 2e2 OK\r\ncontent-length: 0\r\n\r\n", /not HTTP/],
    ["a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", /not HTTP/],
    ["an upgrade", "HTTP/1.1 101 x\r\nupgrade: x\r\n\r\n", /switch protocols/],
    ["two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", /invalid content length/],
    ["a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab", /invalid content length/],
    ["a signed length", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", /invalid content length/],
    ["an empty length", "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", /invalid content length/],
    [
      "a length after a space of another alphabet",
      "HTTP/1.1 200 OK\r\ncontent-length:\xa02\r\n\r\nab",
      /invalid content length/,
    ],
    [
      "a length and chunks",
      "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      /both/,
    ],
    [
      "chunks twice",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
      /transfer encoding/,
    ],
    ["gzip in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", /transfer encoding/],
    ["chunks that are no more", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n", /transfer encoding/],
    ["a space before the colon", "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nab", /without a name/],
    ["a field without a name", "HTTP/1.1 200 OK\r\n: 2\r\n\r\nab", /without a name/],
    ["a folded field", `HTTP/1.1 200 OK\r\n${json} more: x\r\ncontent-length: 0\r\n\r\n`, /folded/],
    ["a folded field as long as a known name", `HTTP/1.1 200 OK\r\n${json} 89012345678: x\r\n\r\n`, /folded/],
    ["a line feed alone between fields", "HTTP/1.1 200 OK\r\nx: a\ncontent-length: 0\r\n\r\n", /line break/],
    ["a carriage return alone between fields", "HTTP/1.1 200 OK\r\nx: a\rcontent-length: 0\r\n\r\n", /line break/],
    ["a line feed alone in the status line", "HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n", /line break/],
    ["a chunk without a size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n;a\r\n", /without a size/],
    ["a chunk of a negative size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", /without a size/],
    [
      "a chunk with a number as programs write it",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nab\r\n",
      /without a size/,
    ],
    ["a chunk longer than it says", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n", /longer/],
    [
      "a chunk ended by a line feed",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\na\r\n",
      /carriage return/,
    ],
    [
      "a carriage return alone in a trailer",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\r\r\n\r\n",
      /carriage return in it/,
    ],
    ["a head without an end", `HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(12_000)}`, /too long a head/],
    [
      "a chunk's line without an end",
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;${"x".repeat(17_000)}`,
      /too long a line/,
    ],
    ["a length above the most", "HTTP/1.1 200 OK\r\ncontent-length: 1000001\r\n\r\n", /more than 1000000 bytes/],
  ];
  test.each(refused)("%s", (_name, text, problem) => {
    const read = parse(Buffer.from(text, "latin1"), [7, 40, 90]);
    expect(read.problem).toMatch(problem);
    expect(read.responses).toEqual([]);
  });
});

describe("whether the connection may be used on", () => {
  const cases: [string, boolean, number | null][] = [
    ["HTTP/1.1 200 OK\r\ncontent-length: 0", true, null],
    ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close", false, null],
    ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\nconnection: keep-alive", false, null],
    ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkeep-alive: timeout=5, max=9", true, 5_000],
    ["HTTP/1.0 200 OK\r\ncontent-length: 0", false, null],
    ["HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive", true, null],
    ["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\nconnection: keep-alive", false, null],
    ["HTTP/1.1 200 OK\r\nconnection: keep-alive", false, null],
  ];
  test.each(cases)("%j: %s", (head, keepsAlive, keepAliveMs) => {
    const [response] = parse(Buffer.from(`${head}\r\n\r\n${head.includes("chunked") ? "0\r\n\r\n" : ""}`)).responses;
    expect(response).toMatchObject({ keepsAlive, keepAliveMs });
  });
});

test("a chunk's size may be followed by blanks, as some servers pad it", () => {
  const padded = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2   \r\nab\r\n0  ;x\r\n\r\n";
  expect(parse(Buffer.from(padded), [50])).toMatchObject({ problem: null, responses: [{ body: "ab" }] });
});

test("a body in chunks of one byte takes no more room than one in a piece", async () => {
  const chunk = Buffer.from("1\r\nx\r\n".repeat(10_000));
  const read: WireResponse[] = [];
  const parser = createResponseParser({ maxBodyBytes: 2_000_000, onResponse: (response) => read.push(response) });
  const feed = (bytes: Buffer) => parser.feed(bytes, 0, bytes.length);
  feed(Buffer.from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"));
  const grownBy = await heapGrownBy(() => {
    for (let part = 0; part < 100; part++) feed(chunk);
  });
  feed(Buffer.from("0\r\n\r\n"));
  expect(read[0]?.body).toHaveLength(1_000_000);
  // A list of a million parts has more than a hundred.
  expect(grownBy).toBeLessThan(10_000_000);
});
