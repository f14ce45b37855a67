import { readFile } from "node:fs/promises";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- the pace of the load, for which nothing waits
import { setTimeout as pause } from "node:timers/promises";
import { eventually, graphqlClient, logIn } from "@toolyard/testing";
import { describeWithOwnRedis, withRedis, withRedisServer } from "@toolyard/testing/redis.ts";
import { createClient } from "graphql-ws";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { startParts, type RunningParts } from "./fixtures/parts.ts";

const PASSWORD = "sw0rdfish-of-redis";
const KEY_PREFIX = "e2e";
/** Tasks that are asked for while Redis is away, and again while it is held, ten a second. `OUTAGE_SECONDS=60` for a long run. */
const LOAD = Number(process.env["OUTAGE_SECONDS"] ?? 3) * 10;
const PACE_MS = 100;

interface Health {
  status: string;
  services: Record<string, { status: string; detail?: string }>;
}
const healthOf = async ({ urls }: RunningParts) => {
  const response = await fetch(`${urls.gateway}/health`);
  return { code: response.status, ...((await response.json()) as Health) };
};

describeWithOwnRedis("parts that share a Redis", () => {
  test("share limits and hand out tasks by it, and serve all the same while it is away, held, and back", () =>
    withRedisServer(
      (server) =>
        withRedis(
          async (open) => {
            const url = server.url.replace("//", `//:${PASSWORD}@`);
            const parts = await startParts({
              REDIS_URL: url,
              REDIS_PREFIX: KEY_PREFIX,
              RATE_LIMIT_FIELDS: "tools=40",
            });
            try {
              await eventually(
                "Redis in /health",
                async () => (await healthOf(parts)).services["redis"]?.status === "healthy",
              );
              const password = (await readFile(join(parts.dataDir, "admin-password"), "utf8")).trim();
              const token = await logIn(parts.urls.gateway, "admin", password);
              const admin = graphqlClient(parts.urls.gateway, token);
              const { client } = open();
              const keys = (what: string) => client.keys(`${KEY_PREFIX}:rate:${what}:*`);
              // They are gone as soon as all is there again.
              await expect.poll(async () => (await admin.query("{ me { id } }"), keys("operations"))).not.toEqual([]);
              const failing = 'mutation { login(username: "admin", password: "not the password") { accessToken } }';
              const stranger = graphqlClient(parts.urls.gateway);
              expect((await stranger.send(failing)).errors).toMatchObject([
                { extensions: { code: "UNAUTHENTICATED" } },
              ]);
              await expect.poll(async () => (await stranger.send(failing), keys("login-pair"))).toHaveLength(1);

              // One has taken all at the first gateway, and has little at the second, which learns it by its first takings: alone it would allow ten.
              const second = graphqlClient(await parts.startSecondGateway(), token);
              const codeOf = async (gateway: typeof admin, times: number) => {
                const fields = Array.from({ length: times }, (_, n) => `f${n}: tools(first: 1) { totalCount }`);
                const { errors } = await gateway.send(`{ ${fields.join(" ")} }`);
                return errors?.[0]?.extensions.code;
              };
              expect(await codeOf(admin, 10)).toBeUndefined();
              let taken = 0;
              while ((await codeOf(second, 1)) !== "RATE_LIMITED") expect(++taken).toBeLessThan(8);

              const seen: { sequence: string; taskId: string; status: string }[] = [];
              const stream = createClient({
                url: `${parts.urls.gateway.replace("http", "ws")}/graphql`,
                webSocketImpl: WebSocket,
                lazy: false,
                connectionParams: { authorization: `Bearer ${await logIn(parts.urls.gateway, "admin", password)}` },
              });
              const ended = (async () => {
                const query = 'subscription { taskUpdated(after: "0") { sequence taskId status } }';
                for await (const { data } of stream.iterate<{ taskUpdated: (typeof seen)[number] }>({ query }))
                  if (data) seen.push(data.taskUpdated);
              })();
              const ids: string[] = [];
              const analyse = async () => {
                const { analyzeFeasibility } = await admin.query<{ analyzeFeasibility: { id: string } }>(
                  'mutation { analyzeFeasibility(input: { description: "Serve our wiki with npx -y wiki-mcp" }) { id } }',
                );
                ids.push(analyzeFeasibility.id);
              };
              const load = async () => {
                for (let n = 0; n < LOAD; n++) {
                  await analyse();
                  await pause(PACE_MS);
                }
              };
              const areDone = () =>
                eventually("an end of each task", () =>
                  ids.every((id) => seen.some(({ taskId, status }) => taskId === id && status === "SUCCEEDED")),
                );
              for (let n = 0; n < 3; n++) await analyse();
              await areDone();

              await server.stop();
              const away = await eventually("that Redis is away", async () => {
                const health = await healthOf(parts);
                return health.services["redis"]?.status === "degraded" && health;
              });
              expect({ code: away.code, status: away.status }).toEqual({ code: 200, status: "degraded" });
              expect(JSON.stringify(away)).not.toMatch(`${PASSWORD}|${new URL(server.url).port}`);
              await load();
              await areDone();

              await server.start();
              await eventually(
                "Redis in /health",
                async () => (await healthOf(parts)).services["redis"]?.status === "healthy",
              );
              for (let n = 0; n < 3; n++) await analyse();
              server.pause();
              await load();
              await areDone();
              server.resume();
              await eventually(
                "Redis in /health",
                async () => (await healthOf(parts)).services["redis"]?.status === "healthy",
              );
              await analyse();
              await areDone();

              // Once each, and no event was missed on the way.
              for (const id of ids)
                expect(seen.filter((each) => each.taskId === id && each.status === "SUCCEEDED")).toHaveLength(1);
              expect(seen.map(({ sequence }) => Number(sequence))).toEqual(seen.map((_, index) => index + 1));
              await stream.dispose();
              await ended.catch(() => undefined);
            } finally {
              const codes = await parts.stop();
              expect(new Set(Object.values(codes))).toEqual(new Set([0]));
              for (const part of ["gateway", "analysis", "identity"] as const)
                expect(parts.output(part)).not.toContain(PASSWORD);
            }
          },
          server.url.replace("//", `//:${PASSWORD}@`),
        ),
      "--requirepass",
      PASSWORD,
    ));
});
