import { writeFileSync } from "node:fs";
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectMcp, eventually, graphqlClient, logIn, processesWith } from "@toolyard/testing";
import { noShiftedClock, shiftedByFile, signed } from "@toolyard/testing/shifted-clock.ts";
import { describe, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";
import { keepFollowing, keepTrying, missingFrom, namesOf, refusalsOf, untilMore } from "./fixtures/load.ts";
import { PARTS, startParts } from "./fixtures/parts.ts";

const HOUR_S = 3_600;

interface Health {
  status: string;
  services: Record<string, { status: string; detail?: string }>;
}

const name = "All parts, by a clock that jumps";
const describeOnShiftedClock = (define: () => void) =>
  noShiftedClock === null ? describe(name, define) : describe.skip(`${name} (skipped: ${noShiftedClock})`, define);

describeOnShiftedClock(() => {
  test("go on when it jumps an hour forward, and an hour back: logins, writes, calls, tasks, restarts, streams and revocations", async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "toolyard-clock-"));
    const shift = join(folder.path, "shift");
    // Of hosts of their own.
    const others = { identity: `${shift}-identity`, tools: `${shift}-tools` };
    const set = (file: string, seconds: number) => writeFileSync(file, signed(seconds));
    const jumpTo = (seconds: number) => [shift, ...Object.values(others)].forEach((file) => set(file, seconds));
    jumpTo(0);
    const env = {
      ...shiftedByFile(shift),
      RATE_LIMIT_ENABLED: "true",
      REPLICAS_ON_EXIT: "stop",
    };
    const parts = await startParts(env, {
      identity: shiftedByFile(others.identity),
      tools: shiftedByFile(others.tools),
    });
    try {
      const password = (await readFile(join(parts.dataDir, "admin-password"), "utf8")).trim();
      const gateway = parts.urls.gateway;
      const clientNow = async () => graphqlClient(gateway, await logIn(gateway, "admin", password));
      const first = await clientNow();
      const makeKey = async (client = first) => {
        const { createApiKey } = await client.query<{ createApiKey: { apiKey: { id: string }; secret: string } }>(
          'mutation { createApiKey(input: { name: "clock", scopes: [WRITE, INVOKE] }) { apiKey { id } secret } }',
        );
        return { id: createApiKey.apiKey.id, secret: createApiKey.secret };
      };
      const { secret } = await makeKey();
      const admin = graphqlClient(gateway, secret);
      const launch = { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } };
      const { createTool: tool } = await admin.query<{ createTool: { id: string } }>(
        "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
        { input: { name: "Steady", description: "", launch } },
      );
      const { deployTool: deployment } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
        "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
        { input: { toolId: tool.id } },
      );
      const echo = async (id: string, credential = secret) => {
        const mcp = await connectMcp("v2-stateless", deployment.mcpUrl, credential);
        try {
          return (await mcp.callTool("echo", { message: id })).includes(id) ? null : "ANSWER";
        } finally {
          await mcp.close();
        }
      };
      const serves = () => eventually("a call", async () => (await echo("serves?")) === null);
      await serves();
      const write = (mutation: string) => async (id: string) => {
        const { errors } = await admin.send(`mutation ($id: String!) { ${mutation} }`, { id });
        return errors[0]?.extensions.code ?? null;
      };
      const newTool =
        'createTool(input: { name: $id, description: "", launch: { stdio: { command: "node" } } }) { id }';
      const writes = {
        knowledge: keepTrying("knowledge", write("uploadDocument(input: { title: $id, content: $id }) { id }")),
        tools: keepTrying("tools", write(newTool)),
      };
      const calls = keepTrying("call", (id) => echo(id));
      const changes = keepFollowing(gateway, secret, "toolChanged");

      const goesOn = async () => {
        // Each process reads the shift once a second, and those that differ by an hour do not believe each other.
        await eventually("one time in all parts", async () => {
          const now = await clientNow();
          const ofEach = [
            "me { id }",
            ...["tools", "documents", "tasks", "deployments"].map((name) => `${name}(first: 1) { totalCount }`),
          ];
          return (await now.send(`{ ${ofEach.join(" ")} }`)).errors.length === 0;
        });
        for (const attempts of [writes.knowledge, writes.tools, calls]) await untilMore(attempts);
        const told = changes.sequences.length;
        await eventually("a change that is told", () => changes.sequences.length > told);
        const now = await clientNow();
        const { analyzeFeasibility: task } = await now.query<{ analyzeFeasibility: { id: string } }>(
          'mutation { analyzeFeasibility(input: { description: "node server.mjs" }) { id } }',
        );
        await eventually("the end of a task", async () => {
          const { task: found } = await now.query<{ task: { status: string } }>(
            "query ($id: ID!) { task(id: $id) { status } }",
            { id: task.id },
          );
          return found.status === "SUCCEEDED";
        });
        // A replica that dies is there again.
        const before = await replicas();
        for (const pid of before) {
          try {
            process.kill(pid, "SIGKILL");
          } catch {
            // Its parent was the one before, which took it along.
          }
        }
        await eventually("another process", async () => {
          const after = await replicas();
          return after.length > 0 && after.every((pid) => !before.includes(pid));
        });
        await serves();
        const key = await makeKey(now);
        expect(await echo("known", key.secret)).toBe(null);
        await now.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: key.id });
        await eventually("that a revoked key is refused", () =>
          echo("revoked", key.secret).then(
            () => false,
            (error: unknown) => /401/.test(String(error)),
          ),
        );
        await eventually("that all is healthy", async () => {
          const response = await fetch(`${gateway}/health`);
          return ((await response.json()) as Health).status === "healthy";
        });
      };
      const replicas = () => processesWith(join(parts.dataDir, "replicas"));

      await goesOn();
      const healthNow = async () => (await (await fetch(`${gateway}/health`)).json()) as Health;
      set(others.tools, 120);
      set(others.identity, -120);
      await eventually("that /health says which clocks differ", async () => {
        const { status, services } = await healthNow();
        return (
          status === "degraded" &&
          /1[12]\d s ahead of/.test(services["tools"]?.detail ?? "") &&
          /1[12]\d s behind/.test(services["identity"]?.detail ?? "") &&
          services["clock"]?.status === "degraded"
        );
      });
      const apart = await clientNow();
      expect((await apart.send("{ me { id } tools(first: 1) { totalCount } }")).errors).toEqual([]);
      await untilMore(writes.tools);
      await untilMore(calls);
      set(others.tools, 2 * HOUR_S);
      await eventually("that the clocks are named as the cause", async () => {
        const { errors } = await apart.send("{ tools(first: 1) { totalCount } }");
        return errors[0]?.extensions.code === "UPSTREAM_UNAVAILABLE" && errors[0].message.includes("clocks");
      });
      jumpTo(HOUR_S);
      await eventually("the end of a session's token, of fifteen minutes", async () => {
        const { errors } = await first.send("{ me { id } }");
        return errors[0]?.extensions.code === "UNAUTHENTICATED";
      });
      await goesOn();
      jumpTo(0);
      await eventually("sessions of now", async () => {
        const [, claims = ""] = (await logIn(gateway, "admin", password)).split(".");
        const { iat } = JSON.parse(Buffer.from(claims, "base64url").toString()) as { iat: number };
        return Math.abs(iat - Date.now() / 1_000) < HOUR_S / 2;
      });
      await goesOn();

      await Promise.all([writes.knowledge, writes.tools, calls].map((attempts) => attempts.stop()));
      for (const writer of ["knowledge", "tools"] as const) {
        // As long as processes do not have one time.
        const meanwhile = ["UNAUTHENTICATED", "UPSTREAM_UNAVAILABLE"];
        expect(refusalsOf(writes[writer].all).filter((code) => !meanwhile.includes(code))).toEqual([]);
        const found = (await namesOf(admin, writer)).filter((each) => each.startsWith(`${writer}-`));
        expect(new Set(found).size).toBe(found.length);
        expect(missingFrom(new Set(found), writes[writer].acknowledged())).toEqual([]);
      }
      expect(changes.breaks).toBe(0);
      expect(changes.sequences.map(Number)).toEqual(changes.sequences.map((_, index) => index + 1));
      await changes.stop();
    } finally {
      expect(await parts.stop()).toEqual(Object.fromEntries(PARTS.map((part) => [part, 0])));
    }
  });
});
