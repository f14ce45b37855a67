import { PROBE_HEADER } from "@toolyard/bridge/probe-header.ts";
import { proofOf, PROOF_PATH } from "@toolyard/bridge/proof.ts";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { launchSchema } from "@toolyard/launch";
import { createProber, type Prober, type ProbeTarget } from "./probe.ts";

const servers: Server[] = [];
const probers: Prober[] = [];
const signal = new AbortController().signal;

afterEach(async () => {
  for (const prober of probers.splice(0)) await prober.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Proves that it knows "the-token", as a bridge does. */
async function serve(answer: RequestListener): Promise<string> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
    if (pathname !== PROOF_PATH) return answer(request, response);
    response.setHeader("content-length", 43).end(proofOf("the-token", searchParams.get("nonce") ?? ""));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a host and port.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
function prober(allowPrivateRemotes = false): Prober {
  const made = createProber({ allowPrivateRemotes });
  probers.push(made);
  return made;
}
const target = (url: string, launch: Record<string, unknown>): ProbeTarget => ({
  launch: launchSchema.parse(launch),
  url,
  token: launch["kind"] === "stdio" ? "the-token" : "",
  owner: null,
  mcpUrl: null,
  headers: { "x-key": "k" },
  handle: null,
});
const stdio = { kind: "stdio", command: "x" };

describe("a bridge", () => {
  test("that passes tools/list on is HEALTHY, and gets its token", async () => {
    let asked: unknown = null;
    const origin = await serve((request, response) => {
      asked = [request.headers.authorization, request.headers[PROBE_HEADER]];
      response
        .setHeader("content-type", "application/json")
        .end(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools: [] } }));
    });
    expect(await prober().check(target(origin, stdio), signal)).toMatchObject({
      outcome: "ANSWERED",
      kind: "mcp tools/list",
      detail: null,
    });
    expect(asked).toEqual(["Bearer the-token", "30"]);
  });

  test.each([
    [
      { names: ["a", "b"], isWhole: false },
      { names: ["a", "b"], isWhole: false },
    ],
    [{ names: [1] }, null],
    [undefined, null],
  ])("tells the names of its server's tools: %j", async (tools, told) => {
    const origin = await serve((_request, response) =>
      response
        .setHeader("content-type", "application/json")
        .end(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { state: "answered", tools } })),
    );
    const result = await prober().check(target(origin, stdio), signal);
    expect(result).toMatchObject({ outcome: "ANSWERED", tools: told });
  });

  test("whose server has no tools lives all the same", async () => {
    const origin = await serve(
      (_request, response) =>
        void response.end(
          JSON.stringify({ jsonrpc: "2.0", id: 1, error: { code: -32601, message: "Method not found" } }),
        ),
    );
    expect((await prober().check(target(origin, stdio), signal)).outcome).toBe("ANSWERED");
  });

  test("that does not answer in time is not", async () => {
    const origin = await serve(() => undefined);
    const impatient = { ...stdio, options: { health: { timeoutSeconds: 0.2 } } };
    expect(await prober().check(target(origin, impatient), signal)).toMatchObject({
      outcome: "FAILED",
      detail: "It did not answer its bridge's probe within 0.2 s (health.timeoutSeconds).",
    });
  });

  test("whose server ends again and again is hopeless to wait for", async () => {
    const origin = await serve(
      (_request, response) =>
        void response
          .writeHead(503)
          .end(JSON.stringify({ status: "failing", error: "the server exits at once: code 3" })),
    );
    expect(await prober().checkStartup(target(origin, stdio), signal)).toMatchObject({
      outcome: "FAILED",
      hopeless: true,
      detail: "The server exits at once: code 3.",
    });
  });

  test("that is not there yet is worth another probe", async () => {
    const result = await prober().checkStartup(target("http://127.0.0.1:1", stdio), signal);
    expect(result).toMatchObject({ outcome: "FAILED", detail: "Nothing listens where it should answer." });
    expect(result.hopeless).toBeFalsy();
  });
});

describe("a server of its own", () => {
  const image = { kind: "image", image: "owner/server:1", port: 4321 };

  test("in an image, at whose port nothing listens, is told the port and what to change", async () => {
    // An engine that forwards the port takes the connection, and closes it.
    const closing = await serve((request) => request.socket.destroy());
    for (const [url, startupFailure] of [
      ["http://127.0.0.1:2", "ABSENT"],
      [closing, "REFUSED"],
    ] as const)
      expect(await prober().checkStartup(target(url, image), signal)).toMatchObject({
        outcome: "FAILED",
        startupFailure,
        detail: expect.stringMatching(/othing listens on port 4321 of its container\. .*\(register --port\).* PORT /),
      });
  });

  /** Without end, as fast as it is read. */
  const pour = (response: ServerResponse, type: string, text: string): void => {
    response.writeHead(200, { "content-type": type });
    const more = (): void => {
      while (response.write(text));
      response.once("drain", more);
    };
    more();
  };
  test.each([
    ["JSON without end", (response: ServerResponse) => pour(response, "application/json", "[".repeat(65_536))],
    [
      "a stream without end",
      (response: ServerResponse) => pour(response, "text/event-stream", `data: {}\n\n`.repeat(9_999)),
    ],
    [
      "an event without end",
      (response: ServerResponse) => pour(response, "text/event-stream", "data: xxxx\n".repeat(9_999)),
    ],
    [
      "what unpacks to very much",
      (response: ServerResponse) =>
        void response
          .writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
          .end(gzipSync(Buffer.alloc(256 * 1024 * 1024))),
    ],
  ])(
    "that answers %s is read no further than bounded",
    async (_what, answer) => {
      const origin = await serve((_request, response) => answer(response));
      const patient = { kind: "http", command: "x", options: { health: { timeoutSeconds: 20 } } };
      expect(await prober().check(target(origin, patient), signal)).toMatchObject({
        outcome: "FAILED",
        detail: "Its answer is larger than 4 MiB, or a stream of too many events.",
      });
    },
    30_000,
  );

  test("is asked at its health paths where it has some", async () => {
    const paths: unknown[] = [];
    const origin = await serve((request, response) => {
      paths.push(request.url);
      response.writeHead(request.url === "/ready" ? 503 : 200).end();
    });
    const launch = {
      kind: "http",
      command: "x",
      options: { health: { livenessPath: "/live", readinessPath: "/ready" } },
    };
    expect(await prober().check(target(origin, launch), signal)).toMatchObject({
      outcome: "FAILED",
      detail: "GET /ready answered HTTP 503.",
    });
    expect(paths).toEqual(["/live", "/ready"]);
  });
});

describe("a remote server", () => {
  test.each([
    "/\\127.0.0.1:PORT/",
    "//127.0.0.1:PORT/",
    "/\t/127.0.0.1:PORT/",
    "/@127.0.0.1:PORT/",
    "/..//127.0.0.1:PORT/",
  ])("whose health path is %j gets its headers itself, and nobody else does", async (path) => {
    const seen: (string | undefined)[] = [];
    const own = await serve((request, response) => {
      seen.push(request.headers["x-key"]?.toString());
      response.end();
    });
    let strayed = false;
    const other = await serve((_request, response) => {
      strayed = true;
      response.end();
    });
    const livenessPath = path.replace("PORT", new URL(other).port);
    const launch = { kind: "remote", url: `${own}/mcp`, options: { health: { livenessPath } } };
    expect(await prober(true).check(target(own, launch), signal)).toMatchObject({ outcome: "ANSWERED" });
    expect(seen).toEqual(["k"]);
    expect(strayed).toBe(false);
  });

  test("at a private address is not called", async () => {
    let called = false;
    const origin = await serve((_request, response) => {
      called = true;
      response.end();
    });
    for (const host of ["127.0.0.1", "localhost"]) {
      const url = `${origin.replace("127.0.0.1", host)}/mcp`;
      const result = await prober().check(target(new URL(url).origin, { kind: "remote", url }), signal);
      expect(result.outcome).toBe("FAILED");
      expect(result.detail).toContain("private address");
    }
    expect(called).toBe(false);
  });

  test("that redirects is not followed", async () => {
    let followed = false;
    const origin = await serve((request, response) => {
      if (request.url === "/elsewhere") followed = true;
      response.writeHead(302, { location: "/elsewhere" }).end();
    });
    const result = await prober(true).check(
      target(origin, { kind: "remote", url: `${origin}/mcp`, options: { health: { timeoutSeconds: 2 } } }),
      signal,
    );
    expect(result.outcome).toBe("FAILED");
    expect(followed).toBe(false);
  });
});
