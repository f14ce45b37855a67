import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "@toolyard/testing/eventually.ts";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { createFixture, type Fixture } from "./deployments-fixture.ts";
import { createProber } from "./engine/probe.ts";

/* What a remote launch that does not come up says: the engine runs, the servers are real. */

const servers: { server: Server; sockets: Set<Socket> }[] = [];
afterEach(async () => {
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

let tls: { key: Buffer; cert: Buffer };
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-tls-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  execFileSync("openssl", ["req", "-x509", ...kind, "-subj", "/CN=localhost", "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  tls = { key: await readFile(key), cert: await readFile(cert) };
  await rm(folder, { recursive: true });
});

/** Its port. */
async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket.on("error", () => undefined)));
  servers.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // It listens on a host and port.
  return (server.address() as AddressInfo).port;
}
const http = (answer: RequestListener) => listen(createServer(answer));
const answers =
  (status: number, type: string, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_request, response: ServerResponse) =>
    void response.writeHead(status, { "content-type": type, ...headers }).end(body);

interface State {
  status: string;
  reason: string | null;
  health: string;
}

async function withRemote(
  launch: Record<string, unknown>,
  work: (fixture: Fixture, id: string, state: () => Promise<State>) => Promise<void>,
  options: { allowPrivateRemotes?: boolean } = {},
): Promise<void> {
  const { allowPrivateRemotes = true } = options;
  await using fixture = await createFixture({
    tools: { "tool-1": { slug: "weather", launch: { kind: "remote", ...launch } } },
    runtimes: () => [],
    config: { allowPrivateRemotes },
    overrides: { prober: createProber({ allowPrivateRemotes }), timing: { sweepIntervalMs: 200, drainMs: 5 } },
  });
  const { deployTool } = await fixture.run<{ deployTool: { id: string } }>(
    `mutation { deployTool(input: { toolId: "tool-1" }) { id } }`,
  );
  const state = async () =>
    (
      await fixture.run<{ deployment: State }>(
        `query ($id: ID!) { deployment(id: $id) { status reason health } }`,
        deployTool,
      )
    ).deployment;
  await work(fixture, deployTool.id, state);
}

const checkOf = async (fixture: Fixture, id: string) =>
  (
    await fixture.run<{ checkDeploymentHealth: { status: string; detail: string | null } }>(
      `mutation ($id: ID!) { checkDeploymentHealth(id: $id) { status detail } }`,
      { id },
    )
  ).checkDeploymentHealth;

describe("a remote server that does not come up says why, while it starts and when it is checked", () => {
  const url = (port: number, scheme = "http") => `${scheme}://127.0.0.1:${port}/mcp`;
  const json = "application/json";
  const cases: [string, () => Promise<Record<string, unknown>>, string | RegExp][] = [
    [
      "401 without a header",
      async () => ({ url: url(await http(answers(401, json, ""))) }),
      "It wants credentials (HTTP 401) and was sent none: name them in the launch's headers.",
    ],
    [
      "401 with one",
      async () => ({
        url: url(await http(answers(401, "text/plain", "token expired"))),
        headers: [{ name: "x-key", value: "k", secret: false }],
      }),
      "It does not accept the credentials that it was sent (HTTP 401): check the launch's headers. It said: token expired.",
    ],
    ["403", async () => ({ url: url(await http(answers(403, json, "{}"))) }), /^It refuses Toolyard \(HTTP 403\): /],
    [
      "404",
      async () => ({ url: url(await http(answers(404, "text/html", "<html>Not here</html>"))) }),
      "It has nothing at the launch's url (HTTP 404): that must be its MCP endpoint.",
    ],
    [
      "418",
      async () => ({ url: url(await http(answers(418, "text/plain", "short and stout"))) }),
      /^It answered \S+ with HTTP 418 \(I'm a Teapot\)\. It said: short and stout\.$/,
    ],
    [
      "500",
      async () => ({ url: url(await http(answers(500, "text/plain", "out of disk"))) }),
      /^It answered \S+ with HTTP 500 \(Internal Server Error\): a fault on its side\. It said: out of disk\.$/,
    ],
    [
      "a redirect",
      async () => ({
        url: url(await http(answers(302, "text/plain", "", { location: "https://sso.example/login?token=1" }))),
      }),
      "It redirects to another address (HTTP 302), which is not followed: make that the launch's url. " +
        "It leads to https://sso.example/login?token=1.",
    ],
    [
      "a redirect to itself",
      async () => ({ url: url(await http(answers(307, "text/plain", "", { location: "/mcp" }))) }),
      "It redirects in a circle (HTTP 307).",
    ],
    [
      "a message that is taken and not answered",
      async () => ({ url: url(await http(answers(202, "text/plain", ""))) }),
      /^It took \S+ and answered nothing \(HTTP 202\)\.$/,
    ],
    [
      "an event stream without an event",
      async () => ({ url: url(await http(answers(200, "text/event-stream", ": hello\n\n"))) }),
      /^It answered \S+ with an event stream that ended without an answer\.$/,
    ],
    [
      "an HTTP+SSE server that takes no messages",
      async () => ({
        url: `http://127.0.0.1:${await http((request, response) => {
          if (request.method === "POST") return void response.writeHead(405).end();
          response.writeHead(200, { "content-type": "text/event-stream" }).write("event: endpoint\ndata: /m\n\n");
        })}/sse`,
      }),
      "It answered a message with HTTP 405.",
    ],
    [
      "a web page",
      async () => ({ url: url(await http(answers(200, "text/html", "<!doctype html><title>Welcome</title>"))) }),
      /^It answered \S+ with a web page: the launch's url must be its MCP endpoint\.$/,
    ],
    [
      "JSON that is no JSON-RPC",
      async () => ({ url: url(await http(answers(200, json, `{"ok":true}`))) }),
      /^It answered \S+ with JSON that is not JSON-RPC\. It said: \{"ok":true\}\.$/,
    ],
    [
      "text that is called JSON",
      async () => ({ url: url(await http(answers(200, json, "hello"))) }),
      /^It answered \S+ with text that is not JSON, though it says so\. It said: hello\.$/,
    ],
    [
      "plain text",
      async () => ({ url: url(await http(answers(200, "text/plain", "hello"))) }),
      /^It answered \S+ with something that is neither JSON nor an event stream\. It said: hello\.$/,
    ],
    [
      "an error",
      async () => ({ url: url(await http(answersError)) }),
      /^It answered initialize with an error\. It said: no seats/,
    ],
    [
      "TLS asked of a plain port",
      async () => ({ url: url(await http(answers(200, json, "{}")), "https") }),
      "It does not speak TLS at that port: its URL must begin with http://, or name another port.",
    ],
    [
      "plain HTTP asked of a TLS port",
      async () => ({ url: url(await listen(createTlsServer(tls, answers(200, json, "{}")))) }),
      /must begin with https:\/\/\.$/,
    ],
    [
      "plain HTTP asked of nginx's TLS port",
      async () => ({
        url: url(
          await http(answers(400, "text/html", "<center>The plain HTTP request was sent to HTTPS port</center>")),
        ),
      }),
      "It speaks TLS at that port: its URL must begin with https://.",
    ],
    [
      "a self-signed certificate",
      async () => ({ url: url(await listen(createTlsServer(tls, answers(200, json, "{}"))), "https") }),
      "Its certificate comes from an issuer that is not trusted here (DEPTH_ZERO_SELF_SIGNED_CERT): the operator can add it by NODE_EXTRA_CA_CERTS.",
    ],
    [
      "a port where nothing listens",
      async () => {
        const port = await http(answers(200, json, "{}"));
        await new Promise((resolve) => servers.pop()?.server.close(resolve));
        return { url: url(port) };
      },
      "Nothing listens at its host and port (connection refused).",
    ],
    [
      "a host that nobody knows",
      async () => ({ url: "http://no-such-host.invalid/mcp" }),
      /^Its host name (is not known|could not be looked up: the name servers do not answer)\.$/,
    ],
    [
      "a connection that is reset",
      async () => ({ url: url(await listen(createTcpServer((socket) => socket.resetAndDestroy()))) }),
      /^It closed the connection without an answer; /,
    ],
    [
      "bytes that are not HTTP",
      async () => ({ url: url(await listen(createTcpServer((socket) => socket.end("220 mail ESMTP\r\n")))) }),
      "Its answer is not HTTP.",
    ],
    [
      "no answer in time",
      async () => ({
        url: url(await http(() => undefined)),
        options: { timeoutSeconds: 1, health: { timeoutSeconds: 1 } },
      }),
      /^It did not answer \S+ within 1 s \(timeoutSeconds\)\.$/,
    ],
  ];
  const answersError: RequestListener = (request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { id = null, method } = JSON.parse(body);
      const error =
        method === "initialize" ? { code: -32000, message: "no seats left" } : { code: -32601, message: "?" };
      response.setHeader("content-type", json).end(JSON.stringify({ jsonrpc: "2.0", id, error }));
    });
  };

  test.each(cases)("%s", async (_name, launchOf, expected) => {
    await withRemote(await launchOf(), async (fixture, id, state) => {
      const { status, reason } = await eventually("a reason", async () => {
        const now = await state();
        return now.reason !== null && !/about to start|not answered yet/.test(now.reason) && now;
      });
      expect(status).toBe("STARTING");
      if (typeof expected === "string") expect(reason).toBe(expected);
      else expect(reason).toMatch(expected);
      expect(reason).not.toMatch(/npx|uvx/);
      expect(await checkOf(fixture, id)).toEqual({ status: "UNHEALTHY", detail: reason });
    });
  });
});

test("a server that takes calls and never answers is told by the setting that ends its start", async () => {
  const options = { health: { startTimeoutSeconds: 2 } };
  await withRemote(
    { url: `http://127.0.0.1:${await http(() => undefined)}/mcp`, options },
    async (_fixture, _id, state) => {
      const reason = await eventually("the reason", async () => {
        const now = await state();
        return now.reason?.includes("started again soon") === true && now.reason;
      });
      expect(reason).toMatch(
        /^It did not answer within 2 s of its start \(startTimeoutSeconds\)\. It is started again/,
      );
    },
  );
});

test("a name that leads to a private address is named with the setting that allows it", async () => {
  const port = await http(answers(200, "text/plain", "never"));
  // Every system's own name leads to an address of its own; `localhost` is refused by its name already.
  const name = `${execFileSync("hostname").toString().trim()}`;
  await withRemote(
    { url: `http://${name}:${port}/mcp` },
    async (fixture, id, state) => {
      const reason = await eventually("the reason", async () => {
        const now = await state();
        return now.reason?.includes("private address") === true && now.reason;
      });
      expect(reason).toContain("leads to the private address");
      expect(reason).toContain("ALLOW_PRIVATE_REMOTES=true");
      expect((await checkOf(fixture, id)).detail).toBe(reason);
    },
    { allowPrivateRemotes: false },
  );
});

test("a remote server that refuses is asked ever more seldom, and found when it has changed its mind", async () => {
  const seen: number[] = [];
  let lets = false;
  const port = await http((request, response) => {
    // oxlint-disable-next-line no-restricted-properties -- a pause is waited for, however long it is
    if (request.method === "POST") seen.push(performance.now());
    if (!lets) return void response.writeHead(401).end();
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { id, method, params } = JSON.parse(body === "" ? "{}" : body);
      if (id === undefined) return void response.writeHead(202).end();
      const result =
        method === "initialize"
          ? { protocolVersion: params.protocolVersion, capabilities: {}, serverInfo: { name: "s", version: "1" } }
          : null;
      const answer = result === null ? { error: { code: -32601, message: "Method not found" } } : { result };
      response.setHeader("content-type", "application/json").end(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
    });
  });
  await withRemote({ url: `http://127.0.0.1:${port}/mcp` }, async (_fixture, _id, state) => {
    await eventually("a pause of more than a second", async () => {
      const [last = 0, before = 0] = seen.toReversed();
      return seen.length > 1 && last - before > 1_000;
    });
    expect(seen.length).toBeLessThan(10);
    lets = true;
    await eventually("RUNNING", async () => (await state()).status === "RUNNING");
  });
});
