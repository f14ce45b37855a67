import { spawn } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, graphqlClient, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
let toolyard: RunningToolyard;
let folder: string;

beforeAll(async () => {
  toolyard = await startToolyard();
  folder = await mkdtemp(join(tmpdir(), "toolyard-command-line-"));
  await copyFile(join(import.meta.dirname, "fixtures/greeter.mjs"), join(folder, "server.mjs"));
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

interface Run {
  code: number | null;
  out: string;
  err: string;
}

/** A command as its user gives it: by npm, from a folder of their own. */
function start(args: readonly string[], options: { env?: Record<string, string>; home?: string } = {}) {
  const child = spawn("npm", ["--prefix", root, "run", "--silent", "toolyard", "--", ...args], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: options.home ?? join(folder, "home"),
      DATA_DIR: toolyard.dataDir,
      TOOLYARD_URL: toolyard.url,
      ...options.env,
    },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const run = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (run.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (run.err += chunk.toString()));
  const ended = new Promise<Run>((done) => child.once("close", (code) => done({ code, ...run })));
  return { child, run, ended };
}

function run(args: readonly string[], options: Parameters<typeof start>[1] & { input?: string } = {}): Promise<Run> {
  const { child, ended } = start(args, options);
  child.stdin.end(options.input ?? "");
  return ended;
}

test("a first own server takes four short commands", async () => {
  expect(await run(["list"])).toMatchObject({ code: 1, out: "", err: expect.stringMatching(/not logged in.*login/) });
  expect(await run(["login"])).toMatchObject({ code: 0, out: expect.stringContaining("as admin (ADMIN)") });
  const kept = join(folder, "home/.config/toolyard/sessions.json");
  expect((await stat(kept)).mode & 0o777).toBe(0o600);
  expect(await readFile(kept, "utf8")).not.toContain(toolyard.adminPassword);

  const registered = await run(["register", "greeter", "--", "node", "server.mjs"]);
  expect(registered).toMatchObject({ code: 0, out: expect.stringContaining(join(folder, "server.mjs")) });
  const deployed = await run(["deploy", "greeter"]);
  expect(deployed).toMatchObject({ code: 0, out: expect.stringContaining(`${toolyard.proxyUrl}/mcp/greeter/v1/mcp`) });
  expect(deployed.err).toContain("Replica 0 is starting.");
  // Numbers arrive as they were written; what would write to the terminal does not.
  const called = await run(["call", "greeter", "greet", '{"who":"me","n":12345678901234567890,"m":1.0}']);
  expect(called).toMatchObject({ code: 0, err: "" });
  expect(called.out).toContain('{"who":"me","n":12345678901234567890,"m":1.0}');
  expect(called.out).toContain("\uFFFD]0;owned\uFFFD");
  expect(await run(["logs", "greeter"])).toMatchObject({ code: 0, out: expect.stringContaining("greeter is here") });
  const list = await run(["list", "--json"]);
  expect(JSON.parse(list.out)).toMatchObject([{ slug: "greeter", deployments: [{ status: "RUNNING" }] }]);
  expect(await run(["stop", "greeter"])).toMatchObject({ code: 0, out: expect.stringContaining("is stopped") });
  expect(await run(["call", "greeter", "greet"])).toMatchObject({
    code: 1,
    err: expect.stringContaining("deploy greeter"),
  });
});

test("a call that goes wrong ends with 1, and says what the tool wants where the arguments were wrong", async () => {
  await run(["login"]);
  await run(["register", "wrong", "--", "node", "server.mjs"]);
  await run(["deploy", "wrong"]);
  expect(await run(["call", "wrong"])).toMatchObject({
    code: 0,
    out: expect.stringContaining("who (string, required)"),
  });
  expect(await run(["call", "wrong", "greed"])).toMatchObject({ code: 2, err: expect.stringContaining("mean greet?") });
  expect(await run(["call", "wrong", "greet", '{"who":me}'])).toMatchObject({
    code: 2,
    err: expect.stringContaining("line 1, column 8"),
  });
  expect(await run(["call", "wrong", "many", "{}"])).toMatchObject({
    code: 1,
    err: expect.stringContaining("people (array of {name: string, age?: number}, required)"),
  });
  const failed = await run(["call", "wrong", "fail"]);
  expect(failed).toMatchObject({ code: 1, out: "it failed\n", err: "" });
  const { graph } = { graph: graphqlClient(toolyard.url, (await run(["token"])).out.trim()) };
  // The sample checks what it is given.
  await graph.query("mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }", {
    input: { name: "everything", description: "", launch: everything() },
  });
  await run(["deploy", "everything"]);
  const misused = await run(["call", "everything", "get-sum", '{"a":1}']);
  expect(misused).toMatchObject({ code: 1, err: expect.stringContaining("b (number, required)") });
  expect(misused.err).toContain(`call everything get-sum '{"a":1,"b":1}'`);
});

function everything() {
  const entry = join(root, "node_modules/@modelcontextprotocol/server-everything/dist/index.js");
  return { stdio: { command: process.execPath, args: [entry, "stdio"] } };
}

test("a deployment that fails is told with its reason and last lines", async () => {
  await run(["login"]);
  await writeFile(join(folder, "broken.mjs"), 'console.error("no database here"); process.exit(3);');
  await run(["register", "broken", "--", "node", "broken.mjs"]);
  const deployed = await run(["deploy", "broken", "--timeout", "8"]);
  expect(deployed).toMatchObject({ code: 1, err: expect.stringMatching(/exited with code 3[\s\S]*no database here/) });
  await run(["stop", "broken"]);
});

test("a tool that is deleted is not there, its name stays taken, and it can be had back", async () => {
  await run(["login"]);
  await run(["register", "gone", "--", "node", "server.mjs"]);
  await run(["deploy", "gone"]);
  expect(await run(["delete", "gone"])).toMatchObject({ code: 0 });
  for (const args of [
    ["call", "gone"],
    ["register", "gone", "--", "node", "server.mjs"],
  ]) {
    expect(await run(args)).toMatchObject({ code: 1, err: expect.stringContaining("`restore gone`") });
  }
  expect(await run(["restore", "gone"])).toMatchObject({ code: 0 });
  expect(await run(["call", "gone"])).toMatchObject({ code: 1, err: expect.stringContaining("Deploy it") });
  // Nothing runs, which is what was asked; of what is not there nothing can be asked.
  expect(await run(["stop", "gone"])).toMatchObject({ code: 0 });
  expect(await run(["stop", "gonne"])).toMatchObject({ code: 1, err: expect.stringContaining('mean "gone"?') });
});

test("secrets come by the environment or stdin, never by a command line, and are sealed", async () => {
  await run(["login"]);
  const onLine = await run(["register", "sealed", "--secret", "GREETING=hush", "--", "node", "server.mjs"]);
  expect(onLine).toMatchObject({ code: 2, err: expect.stringContaining("does not belong on a command line") });
  const args = ["register", "sealed", "--secret", "GREETING", "--env", "LANG", "--", "node", "server.mjs"];
  const made = await run(args, { input: "from stdin\n", env: { LANG: "C" } });
  expect(made).toMatchObject({ code: 0 });
  expect(made.out + made.err).not.toContain("from stdin");
  expect(await run(["list", "sealed", "--json"])).not.toMatchObject({ out: expect.stringContaining("from stdin") });
  await run(["deploy", "sealed"]);
  expect(await run(["call", "sealed", "env"])).toMatchObject({ out: "GREETING=from stdin\n" });
  const again = await run([...args.slice(0, 2), "--update", ...args.slice(2)], { env: { GREETING: "new", LANG: "C" } });
  expect(again).toMatchObject({ code: 0, out: expect.stringContaining("version 2") });
});

test("an image is registered with its options, and deployed only where something runs images", async () => {
  await run(["login"]);
  const image = ["--image", "ghcr.io/owner/name:1.2", "--port", "8080", "--path", "/", "--env", "LANG=C"];
  const register = (options: object) =>
    run(["register", "boxed", ...image, "--options", JSON.stringify(options), "--", "--verbose"]);
  expect(await register({ timeoutSecond: 45 })).toMatchObject({
    code: 1,
    err: expect.stringMatching(/mean "timeoutSeconds"/),
  });
  expect(await register({ timeoutSeconds: 45, egress: { allow: ["example.com"] } })).toMatchObject({
    code: 0,
    out: expect.stringContaining("ghcr.io/owner/name:1.2 --verbose"),
  });
  const { tool } = await graphqlClient(toolyard.url, (await run(["token"])).out.trim()).query<{ tool: object }>(
    `{ tool(slug: "boxed") { launch { ... on ImageLaunch {
      image args port path env { name value secret } options { timeoutSeconds egress { allow } }
    } } } }`,
  );
  expect(tool).toEqual({
    launch: {
      image: "ghcr.io/owner/name:1.2",
      args: ["--verbose"],
      port: 8080,
      path: "/",
      env: [{ name: "LANG", value: "C", secret: false }],
      options: { timeoutSeconds: 45, egress: { allow: ["example.com"] } },
    },
  });
  expect(await run(["deploy", "boxed"])).toMatchObject({
    code: 1,
    err: expect.stringContaining("an image needs MCP_DEPLOYMENT_BACKEND=docker or kubernetes"),
  });
});

test("all servers of a client's configuration are registered, once", async () => {
  await run(["login"]);
  await mkdir(join(folder, ".vscode"), { recursive: true });
  const file = join(folder, ".vscode/mcp.json");
  await writeFile(
    file,
    `{ // VS Code's
      "inputs": [{ "id": "api-key", "type": "promptString", "description": "The key" }],
      "servers": {
        "imported": { "command": "node", "args": ["server.mjs"], "env": { "GREETING": "\${input:api-key}" } },
        "Far Away": { "type": "http", "url": "https://example.com/mcp", "headers": { "X-Key": "k" } },
        "off": { "command": "x", "disabled": true },
      }
    }`,
  );
  const first = await run(["import", ".vscode/mcp.json"]);
  expect(first).toMatchObject({ code: 1, out: expect.stringContaining("set API_KEY in your environment") });
  expect(first.out).toMatch(/Far Away: registered as far-away/);
  const second = await run(["import", ".vscode/mcp.json", "--json"], { env: { API_KEY: "typed" } });
  expect(JSON.parse(second.out)).toMatchObject([
    { name: "imported", slug: "imported", problem: null },
    { name: "Far Away", slug: null, problem: expect.stringContaining("registered already, as far-away") },
    { name: "off", slug: null, problem: "it is disabled" },
  ]);
  const deployed = ["deploy", "imported", "--autoscale", "min=1,max=2", "--balance", "sticky", "--runtime"];
  expect(await run([...deployed, "docker"])).toMatchObject({ code: 1, err: expect.stringContaining("say PROCESS") });
  await run([...deployed, "process"]);
  const { deployment } = await graphqlClient(toolyard.url, (await run(["token"])).out.trim()).query<{
    deployment: object;
  }>(`{ deployment(name: "imported") { balance autoscale { min max idleSeconds } } }`);
  expect(deployment).toEqual({ balance: "STICKY", autoscale: { min: 1, max: 2, idleSeconds: 300 } });
  expect(await run(["call", "imported", "env"])).toMatchObject({ out: "GREETING=typed\n" });
  const onDocker = ["import", ".vscode/mcp.json", "--update", "--runtime", "docker"];
  expect(await run(onDocker)).toMatchObject({ code: 2, err: expect.stringContaining("--deploy") });
  const third = await run([...onDocker, "--deploy"], { env: { API_KEY: "typed" } });
  expect(third).toMatchObject({ code: 1, out: expect.stringMatching(/imported: registered .*say PROCESS/) });
  expect((await run(["list", "imported"])).out).toMatch(
    / RUNTIME +STATUS .*\nimported +imported-\w+ +process +RUNNING/,
  );
});

test("commands that are mistaken say what was meant, and change nothing", async () => {
  for (const [args, message] of [
    [["deply"], /mean deploy\?/],
    [["deploy", "x", "--replica", "2"], /mean --replicas\?/],
    [["deploy", "x", "--autoscale", "min=0,mox=3"], /mean max\?/],
    [["deploy", "x", "--autoscale", "max=many"], /max of --autoscale takes a whole number/],
    [["deploy", "x", "--balance", "stick"], /mean sticky\?/],
    [["deploy"], /Something is missing/],
    [["register", "x", "--image", "busybox", "--cwd", "."], /An image takes no --cwd, but --env/],
    [["register", "x", "--image", "busybox", "httpd"], /go after `--`: -- httpd/],
    [["register", "x", "--options", "{timeout:1}", "--", "node", "server.mjs"], /--options is not JSON/],
    [["register", "x", "npx", "-y", "y"], /goes after `--`/],
    [["register", "x", "--", "node", "nothing.mjs"], /There is no file .*nothing\.mjs/],
    [["register", "x", "ftp://example.com/mcp"], /not ftp:/],
    [["logs", "x", "--follow=yes"], /'-f, --follow' does not take an argument/],
    [["list", "--url", "nonsense"], /not the address/],
  ] as const) {
    expect(await run([...args])).toMatchObject({ code: 2, err: expect.stringMatching(message) });
  }
  await run(["register", "idle", "--", "node", "server.mjs"]);
  for (const command of ["logs", "restart"])
    expect(await run([command, "idle"])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/not deployed.*deploy idle/),
    });
  const stranger = await run(["list"], { env: { TOOLYARD_TOKEN: "wrong" } });
  expect(stranger).toMatchObject({ code: 1, err: expect.stringContaining("TOOLYARD_TOKEN") });
  const away = await run(["login", "--url", "http://127.0.0.1:9"]);
  expect(away).toMatchObject({ code: 1, err: expect.stringContaining("npm run up") });
  expect(await run(["deploy", "--help"])).toMatchObject({ code: 0, out: expect.stringContaining("--timeout SECONDS") });
});

test("an administrator finds who registered and gives them a role", async () => {
  const [username, password] = ["newcomer", "correct horse battery staple"];
  const query = "mutation ($input: RegisterInput!) { register(input: $input) { user { role } } }";
  await graphqlClient(toolyard.url).query(query, { input: { username, email: "new@example.com", password } });
  await run(["login"]);
  expect((await run(["users", "new"])).out).toMatch(/^USER +ROLE +EMAIL[^]*\nnewcomer +VIEWER +new@example\.com/);
  const made = await run(["set-role", username, "developer"]);
  expect(made).toMatchObject({ code: 0, out: "newcomer is DEVELOPER.\n" });
  expect(JSON.parse((await run(["users", "newcomer", "--json"])).out)).toMatchObject([{ username, role: "DEVELOPER" }]);
  expect(await run(["set-role", username, "owner"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("developer"),
  });
  expect(await run(["set-role", "newcome", "viewer"])).toMatchObject({
    code: 1,
    err: expect.stringContaining('mean "newcomer"?'),
  });
});

test("login: by a prompt that shows nothing, by stdin, refused in words; a session is refreshed by itself", async () => {
  const home = join(folder, "other-home");
  const wrong = await run(["login", "--username", "admin", "--password-stdin"], { home, input: "not the password\n" });
  expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining("password is wrong") });
  const pty = spawn(
    "python3",
    [
      join(import.meta.dirname, "fixtures/answer-prompt.py"),
      `${toolyard.adminPassword}\r`,
      "npm",
      "--prefix",
      root,
      "run",
      "--silent",
      "toolyard",
      "--",
      "login",
      "--username",
      "admin",
    ],
    {
      env: { PATH: process.env.PATH, HOME: home, TOOLYARD_URL: toolyard.url },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let shown = "";
  pty.stdout.on("data", (chunk: Buffer) => (shown += chunk.toString()));
  expect(await new Promise((done) => pty.once("close", done))).toBe(0);
  expect(shown).toContain("Logged in");
  expect(shown).not.toContain(toolyard.adminPassword);

  const file = join(home, ".config/toolyard/sessions.json");
  // The access token has expired, or is not taken any more, as after rotate-secrets.
  for (const change of [{ expiresAt: 0 }, { accessToken: "of.another.key" }]) {
    // The file is this command's own.
    const kept = JSON.parse(await readFile(file, "utf8")) as { sessions: Record<string, object> };
    for (const [url, session] of Object.entries(kept.sessions)) kept.sessions[url] = { ...session, ...change };
    await writeFile(file, JSON.stringify(kept));
    // Two at once: a refresh token is good once.
    const both = await Promise.all([run(["list"], { home }), run(["token"], { home })]);
    expect(both).toMatchObject([
      { code: 0, err: "" },
      { code: 0, err: "", out: expect.not.stringContaining("of.another.key") },
    ]);
  }
  expect(await run(["logout"], { home })).toMatchObject({ code: 0 });
  expect(await run(["list"], { home })).toMatchObject({ code: 1 });
});

test("watch prints what happens, and ends at Ctrl-C", async () => {
  await run(["login"]);
  const { child, run: watched, ended } = start(["watch", "--after", "0"]);
  await eventually("an event", () => watched.out.includes("is running and answers."));
  child.kill("SIGINT");
  expect((await ended).err).toContain("Watching");
});

test("watch goes on when its token ends, and says so when its session does", async () => {
  const home = join(folder, "watcher");
  await run(["login"], { home });
  const { run: watched, ended } = start(["watch"], { home });
  await eventually("it watches", () => watched.err.includes("Watching"));
  const { child, run: refused, ended: end } = start(["watch"], { home, env: { TOOLYARD_TOKEN: "ty_no_key" } });
  expect(await end).toMatchObject({ code: 1, err: expect.stringContaining("TOOLYARD_TOKEN") });
  expect([child.exitCode, refused.out]).toEqual([1, ""]);
  const token = (await run(["token"], { home })).out.trim();
  await graphqlClient(toolyard.url, token).query("mutation { logout }");
  expect(await ended).toMatchObject({ code: 1, err: expect.stringMatching(/session .* has ended\. Log in/) });
});
