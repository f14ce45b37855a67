import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, newId } from "@toolyard/service-kit";
import { openRedis, type RedisConnection } from "@toolyard/redis";
import { describe } from "vitest";
import { eventually } from "./eventually.ts";
import { freePort } from "./ports.ts";

/** Why tests with the Redis at TEST_REDIS_URL, or with servers of their own, cannot be had; null: they can. */
const noServer = await whyUnreached(process.env.TEST_REDIS_URL);
const noProgram = spawnSync("redis-server", ["--version"]).error ? "redis-server is not installed" : null;

async function whyUnreached(url: string | undefined): Promise<string | null> {
  if (!url) return "TEST_REDIS_URL is not set";
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port || 6379), timeout: 2_000 });
  socket.once("timeout", () => socket.destroy(new Error("no answer within 2 s")));
  try {
    await once(socket, "connect");
    return null;
  } catch (error) {
    return `TEST_REDIS_URL cannot be reached: ${String(error)}`;
  } finally {
    socket.destroy();
  }
}

/** Tests on the Redis at TEST_REDIS_URL: skipped, with the reason, where it cannot be reached. */
export const describeOnRedis = (name: string, define: () => void) => describeUnless(noServer, name, define);

/** Tests that start, stop and starve servers of their own: skipped, with the reason, where there is no program. */
export const describeWithOwnRedis = (name: string, define: () => void) => describeUnless(noProgram, name, define);

function describeUnless(reason: string | null, name: string, define: () => void): void {
  if (reason === null) describe(name, define);
  else describe.skip(`${name} (skipped: ${reason})`, define);
}

const logger = createLogger({ level: "silent", name: "test" });

/** For tests that hold their Redis; in others a process of a busy machine may take long to read what has come. */
export const HELD_MS = 1_000;
const NOT_HELD_MS = 30_000;

/**
 * An installation of its own on a Redis, the one at TEST_REDIS_URL unless another is named: `open` gives a connection as another process has
 * it, for which a Redis that does not answer for `answerMs` is away.
 */
export async function withRedis(
  run: (open: () => RedisConnection, keyPrefix: string) => Promise<void>,
  url = process.env.TEST_REDIS_URL ?? "",
  answerMs = NOT_HELD_MS,
): Promise<void> {
  const keyPrefix = `test-${newId()}`;
  const opened: RedisConnection[] = [];
  const settings = { url, ca: null, keyPrefix };
  const open = () => {
    const redis = openRedis({ settings, name: "test", logger, answerMs });
    opened.push(redis);
    return redis;
  };
  try {
    await run(open, keyPrefix);
  } finally {
    for (const redis of opened) await redis.close();
    await removeRedisKeys(keyPrefix, url);
  }
}

/** What was kept there under a prefix. */
export async function removeRedisKeys(keyPrefix: string, url: string): Promise<void> {
  const settings = { url, ca: null, keyPrefix };
  const cleaner = openRedis({ settings, name: "test", logger, answerMs: NOT_HELD_MS });
  try {
    await isThere(cleaner);
    for await (const keys of cleaner.client.scanStream({ match: `${keyPrefix}:*` }) as AsyncIterable<string[]>)
      if (keys.length > 0) await cleaner.client.del(keys);
  } finally {
    await cleaner.close();
  }
}

export const isThere = (redis: RedisConnection) => eventually("a connection to Redis", () => !redis.isAway);
export const isGone = (redis: RedisConnection) => eventually("the end of the connection to Redis", () => redis.isAway);

/** A Redis of the test's own, on one port for good. */
export interface RedisServer {
  readonly url: string;
  start(...more: string[]): Promise<void>;
  stop(): Promise<void>;
  /** Holds it, so that it answers nothing and closes nothing. */
  pause(): void;
  resume(): void;
}

/** @param settings further arguments of `redis-server`, at every start */
export async function withRedisServer(
  run: (server: RedisServer) => Promise<void>,
  ...settings: string[]
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "toolyard-redis-"));
  const port = await freePort();
  let child: ChildProcess | null = null;
  const server: RedisServer = {
    url: `redis://127.0.0.1:${port}`,
    async start(...more) {
      const own = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", dir];
      child = spawn("redis-server", [...own, ...settings, ...more], { stdio: ["ignore", "pipe", "inherit"] });
      let printed = "";
      child.stdout?.on("data", (chunk: Buffer) => (printed += chunk.toString()));
      await eventually("a Redis that is ready", () => printed.includes("Ready to accept connections"));
    },
    async stop() {
      if (!child || child.exitCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGCONT");
      child.kill("SIGKILL");
      await exited;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
  };
  try {
    await server.start();
    await run(server);
  } finally {
    await server.stop();
    rmSync(dir, { recursive: true });
  }
}
