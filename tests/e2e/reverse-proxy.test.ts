import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectMcp,
  eventually,
  freePort,
  logIn,
  startToolyard,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { chromiumPath, openBrowser } from "@toolyard/testing/browser.ts";
import {
  isInstalled,
  startReverseProxy,
  type ReverseProxyKind,
  type RunningReverseProxy,
} from "@toolyard/testing/reverse-proxy.ts";
import { createClient } from "graphql-ws";
import { Agent, fetch as fetchByUndici, request } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { isShown, listToolsFromDocs } from "./fixtures/api-docs.ts";

/* Toolyard at https://…/toolyard, by the configurations of docs/reverse-proxy.md. */

const HOST = "tools.example.com";
const documentation = readFileSync(join(import.meta.dirname, "../../docs/reverse-proxy.md"), "utf8");

/** The configuration in the documentation of this kind. */
function snippetOf(language: string): string {
  const found = new RegExp(`\`\`\`${language}\\n(.+?)\n\`\`\``, "s").exec(documentation)?.[1];
  if (found === undefined) throw new Error(`docs/reverse-proxy.md has no ${language}.`);
  return found;
}

/** Each replacement must be in the text. */
function replaced(text: string, replacements: readonly (readonly [string, string])[]): string {
  return replacements.reduce((before, [from, to]) => {
    if (!before.includes(from)) throw new Error(`docs/reverse-proxy.md no longer has ${from}.`);
    return before.replaceAll(from, to);
  }, text);
}

interface Ports {
  front: number;
  gateway: number;
  proxy: number;
}

const configurations: Record<
  ReverseProxyKind,
  (options: { strips: boolean; ports: Ports; files: { certificate: string; key: string } }) => string
> = {
  nginx({ strips, ports, files }) {
    const text = replaced(snippetOf("nginx"), [
      ["listen 443 ssl;", `listen 127.0.0.1:${ports.front} ssl;`],
      ["/etc/ssl/tools.example.com.pem", files.certificate],
      ["/etc/ssl/tools.example.com.key", files.key],
    ]);
    const to = (path: string) => (strips ? path : "");
    return replaced(text, [
      ["http://127.0.0.1:4000;", `http://127.0.0.1:${ports.gateway}${to("/")};`],
      ["http://127.0.0.1:4100;", `http://127.0.0.1:${ports.proxy}${to("/mcp/")};`],
    ]);
  },
  caddy({ strips, ports, files }) {
    const tls = `tls ${files.certificate} ${files.key}`;
    const strip = strips ? "uri strip_prefix /toolyard\n\t\t" : "";
    return replaced(snippetOf("caddyfile"), [
      [`${HOST} {`, `${HOST}:${ports.front} {\n\tbind 127.0.0.1\n\t${tls}`],
      ["reverse_proxy 127.0.0.1:4000", `${strip}reverse_proxy 127.0.0.1:${ports.gateway}`],
      ["reverse_proxy 127.0.0.1:4100", `${strip}reverse_proxy 127.0.0.1:${ports.proxy}`],
    ]);
  },
};

const canMakeCertificates = isInstalled("openssl");

/** One Toolyard, which each of them is in front of in turn. */
let toolyard: RunningToolyard;
let ports: Ports;
let publicUrl: string;

beforeAll(async () => {
  ports = { front: await freePort(), gateway: await freePort(), proxy: await freePort() };
  publicUrl = `https://${HOST}:${ports.front}/toolyard`;
  toolyard = await startToolyard({
    ports,
    env: { PUBLIC_URL: `${publicUrl}/`, SAMPLE: "true", PROCESS_ISOLATION: "none" },
  });
});
afterAll(() => toolyard?.[Symbol.asyncDispose]());

describe.each([
  ["nginx", false],
  ["nginx", true],
  ["caddy", false],
  ["caddy", true],
] as const)("behind %s, which takes the prefix off: %s", (kind, strips) => {
  const problem = !isInstalled(kind)
    ? `${kind} is not installed`
    : canMakeCertificates
      ? null
      : "openssl is not installed";

  describe.skipIf(problem !== null)(problem === null ? "with TLS" : `(skipped: ${problem})`, () => {
    let front: RunningReverseProxy;
    let agent: Agent;
    let mcpUrl: string;
    let token: string;

    /** As the world asks: by name, with TLS. */
    const ask = ((url: string, init?: object) =>
      fetchByUndici(url, { ...init, dispatcher: agent })) as unknown as typeof globalThis.fetch;

    async function graph<Data>(query: string, headers: Record<string, string> = {}): Promise<Data> {
      const answer = await ask(`${publicUrl}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token}`, ...headers },
        body: JSON.stringify({ query }),
      });
      // The test names the shape of what it selected.
      return ((await answer.json()) as { data: Data }).data;
    }

    beforeAll(async () => {
      front = await startReverseProxy({
        kind,
        hostName: HOST,
        port: ports.front,
        configure: (files) => configurations[kind]({ strips, ports, files }),
      });
      agent = new Agent({
        connect: {
          ca: front.certificate,
          lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
        },
      });
      const login = await ask(`${publicUrl}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          query: 'mutation ($p: String!) { login(username: "admin", password: $p) { accessToken } }',
          variables: { p: toolyard.adminPassword },
        }),
      });
      token = ((await login.json()) as { data: { login: { accessToken: string } } }).data.login.accessToken;
      await eventually("the sample runs", async () => {
        const { tool } = await graph<{
          tool: { mcpUrl: string; deployments: { edges: { node: { status: string } }[] } };
        }>('{ tool(slug: "everything") { mcpUrl deployments { edges { node { status } } } } }');
        ({ mcpUrl } = tool);
        return tool.deployments.edges[0]?.node.status === "RUNNING";
      });
    });
    afterAll(async () => {
      await agent?.destroy();
      await front?.[Symbol.asyncDispose]();
    });

    test("the banner and mcpUrl have the public address", () => {
      expect(toolyard.output()).toContain(`Graph     ${publicUrl}/graphql `);
      expect(toolyard.output()).toContain(`Tools     ${publicUrl}/mcp/{slug}/v1/mcp`);
      expect(mcpUrl).toBe(`${publicUrl}/mcp/everything/v1/mcp`);
    });

    test.each(["v1", "v2-sessions", "v2-stateless"] satisfies McpEra[])("MCP clients call tools: %s", async (era) => {
      const client = await connectMcp(era, mcpUrl, token, ask);
      try {
        expect(await client.listTools()).toContain("echo");
        expect(await client.callTool("echo", { message: "hello" })).toBe("Echo: hello");
      } finally {
        await client.close();
      }
    });

    test("a tool's progress comes as it is sent", async () => {
      const answer = await ask(mcpUrl, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          authorization: `Bearer ${token}`,
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": "tools/call",
          "mcp-name": "trigger-long-running-operation",
        },
        body: JSON.stringify({
          jsonrpc: "2.0",
          id: 1,
          method: "tools/call",
          params: {
            name: "trigger-long-running-operation",
            arguments: { duration: 2, steps: 2 },
            _meta: {
              progressToken: "p",
              "io.modelcontextprotocol/protocolVersion": "2026-07-28",
              "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
              "io.modelcontextprotocol/clientCapabilities": {},
            },
          },
        }),
      });
      expect(answer.headers.get("content-type")).toContain("text/event-stream");
      const parts: string[] = [];
      for await (const chunk of answer.body ?? []) parts.push(Buffer.from(chunk).toString());
      // What was held back comes in one.
      const progress = parts.findIndex((part) => part.includes("notifications/progress"));
      const result = parts.findIndex((part) => part.includes('"result"'));
      expect(progress).toBeGreaterThanOrEqual(0);
      expect(result).toBeGreaterThan(progress);
    });

    test("subscriptions come by graphql-ws and by server-sent events", async () => {
      const client = createClient({
        url: `${publicUrl.replace("https", "wss")}/graphql`,
        webSocketImpl: class extends WebSocket {
          constructor(address: string, protocols: string) {
            super(address, protocols, {
              ca: front.certificate,
              origin: new URL(publicUrl).origin,
              lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
            });
          }
        },
        connectionParams: { authorization: `Bearer ${token}` },
        retryAttempts: 0,
      });
      try {
        const query = 'subscription { deploymentEvents(after: "0") { kind } }';
        const first = await client.iterate({ query }).next();
        expect(first.value).toMatchObject({ data: { deploymentEvents: { kind: "DEPLOYED" } } });
      } finally {
        await client.dispose();
      }
      const leave = new AbortController();
      const answer = await ask(`${publicUrl}/graphql`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "text/event-stream",
          authorization: `Bearer ${token}`,
        },
        body: JSON.stringify({ query: 'subscription { deploymentEvents(after: "0") { kind } }' }),
        signal: leave.signal,
      });
      let received = "";
      // The stream stands open: what comes of it came at once.
      for await (const chunk of answer.body ?? []) {
        received += Buffer.from(chunk).toString();
        if (received.includes("DEPLOYED")) break;
      }
      leave.abort();
      expect(received).toContain("event: next");
    });

    test("Toolyard's own pages may ask, others may not, and names that it was not given are refused", async () => {
      const me = '{"query":"{ __typename }"}';
      const statusOf = async (url: string, headers: Record<string, string>) =>
        (await ask(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: me }))
          .status;
      expect(await statusOf(`${publicUrl}/graphql`, { origin: new URL(publicUrl).origin })).toBe(200);
      expect(await statusOf(`${publicUrl}/graphql`, { origin: "https://evil.example" })).toBe(403);
      // Past the proxy in front, and with words about it that nobody asked for.
      const forged = { "x-forwarded-host": HOST, "x-forwarded-prefix": "/evil" };
      for (const path of ["/graphql", "/toolyard/graphql"]) {
        expect(await statusOf(`${toolyard.url}${path}`, forged)).toBe(200);
        const elsewhere = await graphAs(`${toolyard.url}${path}`, { host: "evil.example", ...forged });
        expect(elsewhere).toContain("PUBLIC_URL");
      }
    });

    /** `fetch` sends no Host of one's own. */
    async function graphAs(url: string, headers: Record<string, string>): Promise<string> {
      const { body } = await request(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: '{"query":"{ __typename }"}',
      });
      return body.text();
    }

    test.skipIf(chromiumPath === null)("the page works", async () => {
      const browser = await openBrowser([HOST]);
      try {
        const page = await browser.newPage({ ignoreHTTPSErrors: true });
        const elsewhere: string[] = [];
        page.on("request", (sent) => {
          if (!sent.url().startsWith(publicUrl) && !/^(data|blob):/.test(sent.url())) elsewhere.push(sent.url());
        });
        // What people type.
        for (const typed of [publicUrl, `${publicUrl}/`, `${publicUrl}/graphql/`]) {
          await page.goto(typed);
          expect(page.url()).toBe(`${publicUrl}/graphql`);
        }
        await page.getByLabel("Username").fill("admin");
        await page.getByLabel("Password").fill(toolyard.adminPassword);
        await page.getByRole("button", { name: "Log in", exact: true }).click();
        const result = page.locator(".result-window .CodeMirror-code");
        // Long lines are broken on the page.
        await expect
          .poll(async () =>
            `${await page.locator("header").innerText()} ${await result.innerText()}`.replaceAll(/\s/g, ""),
          )
          .toContain(`"mcpUrl":"${mcpUrl}"`);
        const sockets: string[] = [];
        page.on("websocket", (socket) => sockets.push(socket.url()));
        await page.getByRole("tab", { name: "Watch" }).click();
        await expect
          .poll(() => page.locator(".graphiql-query-editor .CodeMirror-code").innerText())
          .toContain("deploymentEvents");
        // A click while the page is still at something else ends that.
        const opened = async () => {
          if (sockets.length === 0) await page.locator(".graphiql-execute-button").click();
          return sockets;
        };
        await expect.poll(opened, { interval: 3_000 }).toEqual([`${publicUrl.replace("https", "wss")}/graphql`]);
        await expect.poll(() => result.innerText()).toContain('"deploymentEvents"');
        const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
        await listToolsFromDocs(page, publicUrl, token);
        await page.goto(`${publicUrl}/api/redoc`);
        await isShown(page);
        expect(elsewhere).toEqual([]);
      } finally {
        await browser.close();
      }
    });
  });
});

test("a proxy alone finds a control plane that is reached below a path", async () => {
  const ports = { gateway: await freePort(), proxy: await freePort() };
  const gatewayUrl = `http://localhost:${ports.gateway}/toolyard`;
  await using toolyard = await startToolyard({ ports, env: { PUBLIC_URL: gatewayUrl, SAMPLE: "true" } });
  const root = join(import.meta.dirname, "../..");
  const env = { PATH: process.env.PATH, DATA_DIR: toolyard.dataDir };
  const made = spawnSync(process.execPath, [join(root, "scripts/proxy-credential.ts")], { env, encoding: "utf8" });
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-proxy-alone-"));
  const port = await freePort();
  const proxy = spawn(process.execPath, [join(root, "packages/proxy/main.ts")], {
    env: {
      PATH: process.env.PATH,
      DATA_DIR: dataDir,
      PROXY_PORT: String(port),
      PROXY_CREDENTIAL: made.stdout.trim(),
      GATEWAY_URL: `${gatewayUrl}/`,
      LOG_LEVEL: "error",
    },
    stdio: "ignore",
  });
  try {
    const health = await eventually("the proxy is connected", async () => {
      const answer = (await (await fetch(`http://127.0.0.1:${port}/healthz`)).json()) as { status: string };
      return answer.status === "healthy" && answer;
    });
    expect(health).toMatchObject({ connected: true, routes: { live: true } });
    // Keys come by a plain request, routes by a socket.
    const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
    await eventually("a call is answered", async () => {
      const client = await connectMcp("v2-stateless", `http://127.0.0.1:${port}/mcp/everything/v1/mcp`, token);
      try {
        return (await client.callTool("echo", { message: "hello" })) === "Echo: hello";
      } finally {
        await client.close();
      }
    });
  } finally {
    const ended = once(proxy, "close");
    proxy.kill("SIGTERM");
    await ended;
    await rm(dataDir, { recursive: true, force: true });
  }
});
