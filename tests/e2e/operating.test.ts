import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { embeddedOnly } from "@toolyard/testing/mode.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");
const docs = (name: string) => readFile(join(root, "docs", name), "utf8");
const METRICS_TOKEN = "m".repeat(40);
const TYPED = "typed-by-somebody";

let toolyard: RunningToolyard;
beforeAll(async () => {
  toolyard = await startToolyard({
    env: {
      METRICS_TOKEN,
      LOG_LEVEL: "info",
      JOBS_SCHEDULE: "* * * * * *",
      NODE_ENV: "production",
      PUBLIC_URL: "https://tools.example.com",
      PROCESS_ISOLATION: "none",
      SAMPLE: "true",
      PATH: `${join(root, "node_modules", ".bin")}:${process.env.PATH}`,
    },
  });
});
afterAll(async () => {
  await toolyard.stop();
  for (const suffix of ["", "-check", "-check-restored"])
    await rm(`${toolyard.dataDir}${suffix}`, { recursive: true, force: true });
});

async function scrape(url: string): Promise<string> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } });
  expect(response.status).toBe(200);
  return response.text();
}
/** The rows of the table under a heading, as texts of its cells without the marks of code. */
async function tableOf(heading: string): Promise<string[][]> {
  const [, section = ""] = (await docs("operating.md")).split(`\n## ${heading}\n`);
  const rows = (section.split("\n## ")[0] ?? "").split("\n").filter((line) => line.startsWith("| `"));
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.replaceAll("`", "").trim()),
  );
}

describe("what docs/operating.md says is there", () => {
  /** Metrics that count what does not happen here. */
  const QUIET = ["query_plans_replaced_total", "graphql_shadow_queries_total", "graphql_subscriptions_total"];

  test.skipIf(embeddedOnly("the table is of one process"))(
    "metrics have these names and labels, with a text, and there are no others",
    async () => {
      const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      const headers = { authorization: `Bearer ${token}` };
      await graphqlClient(toolyard.url, token).query("{ me { id } }");
      for (const path of [`/${TYPED}`, `/mcp/${TYPED}/v1/mcp`, `/api/v1/mcps/${TYPED}`]) {
        await fetch(`${toolyard.url}${path}`, { headers });
        await fetch(`${toolyard.url}${path}`, { headers, method: "DELETE" });
      }
      await fetch(`${toolyard.proxyUrl}/mcp/${TYPED}/v1/mcp`, { headers });
      const called = await eventually("the sample's answer", async () => {
        const body = { jsonrpc: "2.0", id: 1, method: "tools/list", params: {} };
        const response = await fetch(`${toolyard.proxyUrl}/mcp/everything/v1/mcp`, {
          method: "POST",
          headers: { ...headers, "content-type": "application/json", accept: "application/json, text/event-stream" },
          body: JSON.stringify(body),
        });
        await response.text();
        return response.status < 500;
      });
      expect(called).toBe(true);
      const rows = await tableOf("Metrics");
      expect(rows.length).toBeGreaterThan(30);
      for (const [part, url] of [
        ["gateway", toolyard.url],
        ["proxy", toolyard.proxyUrl],
      ] as const) {
        const here = rows.filter(([, , where = ""]) => where.split(", ").includes(part));
        const complete = async () => {
          const text = await scrape(url);
          const missing = here.filter(([name = "", labels = ""]) => {
            const series = text.split("\n").filter((line) => new RegExp(`^${name}(_count)?[{ ]`).test(line));
            const isThere = /\w+/.test(new RegExp(`^# HELP ${name} (.+)$`, "m").exec(text)?.[1] ?? "");
            const wanted = labels.split(", ").filter(Boolean).toSorted().join();
            const has = (line: string) =>
              [...line.matchAll(/[{,](\w+)="/g)]
                .map(([, label = ""]) => label)
                .toSorted()
                .join();
            return (
              !isThere ||
              (!QUIET.includes(name) && (series.length === 0 || series.some((line) => has(line) !== wanted)))
            );
          });
          return missing.length === 0 ? text : Promise.reject(new Error(`Missing: ${missing.join("; ")}`));
        };
        const text = await eventually(`all metrics of the ${part}`, complete);
        const names = [...text.matchAll(/^# HELP (\S+) /gm)].flatMap(([, name = ""]) => name);
        expect(names.filter((name) => !/^(nodejs|process)_/.test(name)).toSorted()).toEqual(
          here.map(([name = ""]) => name).toSorted(),
        );
        expect(names).toContain("nodejs_eventloop_lag_seconds");
        expect(text).not.toContain(TYPED);
        expect(text).not.toMatch(/="[^"]*[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-/);
      }
    },
  );

  test.skipIf(embeddedOnly("the table is of one process"))(
    "/health has these services, each with its status and time; HEAD has the status",
    async () => {
      const response = await fetch(`${toolyard.url}/health`);
      const { services } = (await response.json()) as { services: Record<string, unknown> };
      // Here all is in files, of one host, and replicas are processes.
      const rows = (await tableOf("Health")).filter(
        ([, what = ""]) => !/_URL names a server|_BACKEND names it|^shown while/.test(what),
      );
      const listed = rows.map(([name = ""]) => name);
      expect(Object.keys(services).toSorted()).toEqual(listed.toSorted());
      for (const service of Object.values(services))
        expect(service).toMatchObject({ status: expect.any(String), response_time_ms: expect.any(Number) });
      const head = await fetch(`${toolyard.url}/health`, { method: "HEAD" });
      expect([head.status, await head.text()]).toEqual([response.status, ""]);
    },
  );

  test("the banner sends no browser to a graph that may not be explored", () => {
    expect(toolyard.output()).toMatch(/Graph .*\/graphql +\(for programs: INTROSPECTION=true/);
    expect(toolyard.output()).not.toContain("open it in a browser to explore");
  });

  test("lines of the log are JSON with these fields", async () => {
    const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
    await fetch(`${toolyard.url}/api/v1/mcps`, { headers: { authorization: `Bearer ${token}` } });
    const lines = () =>
      toolyard
        .output()
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    const request = await eventually("the request's line", () => lines().find(({ path }) => path === "/api/v1/mcps"));
    const job = await eventually("a job's line", () => lines().find((line) => line["job"] === "expired-sessions"));
    const fields = (await tableOf("Log lines")).map(([names = "", where = ""]) => ({
      names: names.split(", "),
      where,
    }));
    for (const { names, where } of fields)
      for (const name of names) {
        if (where.startsWith("every line")) for (const line of lines()) expect(line).toHaveProperty(name);
        else expect(where.includes("jobs") ? job : request).toHaveProperty(name);
      }
  });
});

test("browsers are told of every answer what they may do with it, whatever is asked", async () => {
  const { paths } = (await (await fetch(`${toolyard.url}/api/openapi.json`)).json()) as {
    paths: Record<string, unknown>;
  };
  const others =
    "/ /graphql /graphql/stream /metrics /health /health/live /health/ready /events /ws /.well-known/jwks.json /api/docs /api/redoc /api/openapi.json /none /mcp/none/v1/mcp /mcp";
  const asked = [...Object.keys(paths).map((path) => path.replaceAll(/\{\w+\}/g, "none")), ...others.split(" ")];
  const expected = {
    "x-content-type-options": /^nosniff$/,
    "x-frame-options": /^DENY$/,
    "content-security-policy": /^default-src 'none';.*frame-ancestors 'none'$/,
    "referrer-policy": /^no-referrer$/,
    "cross-origin-resource-policy": /^same-origin$/,
    "cache-control": /^(no-store|no-cache|private, no-cache|public, max-age=\d+)$/,
  };
  async function check(url: string, init: RequestInit, more: Record<string, RegExp> = {}): Promise<void> {
    const { headers, body } = await fetch(url, { redirect: "manual", ...init });
    await body?.cancel();
    for (const [name, value] of Object.entries({ ...expected, ...more }))
      expect(headers.get(name) ?? "", `${name} of ${init.method} ${url}`).toMatch(value);
    for (const name of ["server", "x-powered-by", "set-cookie"]) expect(headers.get(name)).toBeNull();
  }
  for (const path of asked) {
    const hsts = /^\/mcp(\/|$)/.test(path) ? {} : { "strict-transport-security": /^max-age=\d+$/ };
    for (const method of ["GET", "HEAD", "POST", "PATCH", "OPTIONS"])
      await check(`${toolyard.url}${path}`, { method, headers: { accept: "*/*" } }, hsts);
  }
  for (const path of ["/", "/healthz", "/metrics", "/mcp/none/v1/mcp"])
    for (const method of ["GET", "POST", "OPTIONS"]) await check(`${toolyard.proxyUrl}${path}`, { method });
  const page = { accept: "text/html" };
  for (const path of ["/api/docs", "/api/redoc"])
    await check(
      `${toolyard.url}${path}`,
      { method: "GET", headers: page },
      { "cross-origin-opener-policy": /^same-origin$/ },
    );
});

describe("docs/production-checklist.md", async () => {
  const lines = [...(await docs("production-checklist.md")).matchAll(/^- \[ \] (.+)\n +`(.+)` → (?:`(.+)`|.+)$/gm)].map(
    ([, what = "", command = "", prints]) => ({ what, command, prints }),
  );
  const run = promisify(execFile);

  test("each line has a command, and names what there is", async () => {
    const text = await docs("production-checklist.md");
    expect(lines).toHaveLength(text.split("\n- [ ]").length - 1);
    const variables = [...(await readFile(join(root, ".env.example"), "utf8")).matchAll(/^#?([A-Z][A-Z_]+)=/gm)].map(
      ([, name]) => name,
    );
    const named = [...text.matchAll(/\b[A-Z]{2,}(?:_[A-Z]+)+\b/g)].map(([name]) => name.replace(/_FILE$/, ""));
    expect(named.filter((name) => !variables.includes(name) && !["NODE_ENV"].includes(name))).toEqual([]);
    const { scripts } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { scripts: object };
    for (const [, script = ""] of text.matchAll(/npm run (?:--silent )?([a-z][\w-]*)/g))
      expect(scripts).toHaveProperty([script]);
    const metrics = (await tableOf("Metrics")).map(([name]) => name);
    for (const [, name] of text.matchAll(/`([a-z]+(?:_[a-z]+)+)`/g)) expect(metrics).toContain(name);
  });

  const hasCurl = await run("curl", ["--version"]).then(
    () => true,
    () => false,
  );
  const answered = lines.filter(
    ({ prints, command }) => prints !== undefined && (hasCurl || !command.includes("curl")),
  );
  test.each(answered)("$what", async ({ command, prints }) => {
    const { dataEnv, url, proxyUrl } = toolyard;
    const env = {
      PATH: `${join(root, "node_modules", ".bin")}:${process.env.PATH}`,
      HOME: process.env.HOME,
      URL: url,
      PROXY: proxyUrl,
      METRICS_TOKEN,
      ...dataEnv,
    };
    const { stdout } = await run("bash", ["-c", command], { cwd: root, env }).catch((error: unknown) => {
      // grep -c that counts none says so by its exit code as well.
      if (error instanceof Error && "stdout" in error) return { stdout: String(error.stdout) };
      throw error;
    });
    expect(stdout.trim()).toBe(prints);
  });

  test.skipIf(embeddedOnly("all is in DATA_DIR, where no server has it"))(
    "what is about DATA_DIR holds a second time, and where that is the default",
    async () => {
      const away = await mkdtemp(join(tmpdir(), "toolyard-checklist-"));
      try {
        for (const name of ["package.json", "scripts", "node_modules"])
          await symlink(join(root, name), join(away, name));
        await symlink(toolyard.dataDir, join(away, "data"));
        const about = lines.filter(({ command }) => command.includes("DATA_DIR"));
        expect(about).toHaveLength(5);
        const { PATH, HOME } = process.env;
        const env = { PATH: `${join(root, "node_modules", ".bin")}:${PATH}`, HOME };
        const printed = async (cwd: string, dataDir: object) => {
          const found: string[] = [];
          for (const { command } of about)
            found.push((await run("bash", ["-c", command], { cwd, env: { ...env, ...dataDir } })).stdout.trim());
          return found;
        };
        const expected = ["600", "still there", "700", "made", "restored"];
        expect(await printed(away, {})).toEqual(expected);
        expect(await printed(away, {})).toEqual(expected);
        expect(await printed(root, { DATA_DIR: toolyard.dataDir })).toEqual(expected);
      } finally {
        await rm(away, { recursive: true });
      }
    },
  );
});
