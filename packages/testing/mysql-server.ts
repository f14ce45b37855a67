import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import mysql from "mysql2/promise";
import { describe } from "vitest";
import { eventually } from "./eventually.ts";
import { freePort } from "./ports.ts";

// Debian's is not on everybody's PATH.
const PROGRAM = existsSync("/usr/sbin/mariadbd") ? "/usr/sbin/mariadbd" : "mariadbd";
const noProgram = spawnSync(PROGRAM, ["--version"]).error ? "mariadbd is not installed" : null;

/** Tests that start and kill a MariaDB of their own: skipped, with the reason, where there is no program. */
export function describeWithOwnMysql(name: string, define: () => void): void {
  if (noProgram === null) describe(name, define);
  else describe.skip(`${name} (skipped: ${noProgram})`, define);
}

/** A MariaDB of the test's own, on one port for good. */
export interface MysqlServer {
  /** Of a database that is there. */
  readonly url: string;
  start(): Promise<void>;
  /** Kills it, as a power cut would. */
  kill(): Promise<void>;
  /** Holds it, so that it answers nothing and closes nothing. */
  pause(): void;
  resume(): void;
}

export async function withMysqlServer(run: (server: MysqlServer) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "toolyard-mysql-"));
  const data = join(dir, "data");
  const port = await freePort();
  const root = `mysql://root@127.0.0.1:${port}`;
  const user = userInfo().username;
  const made = spawnSync(
    "mariadb-install-db",
    [
      "--no-defaults",
      `--user=${user}`,
      `--datadir=${data}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
    ],
    { encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`mariadb-install-db failed: ${made.stderr}`);
  let child: ChildProcess | null = null;
  const connected = async () => {
    const connection = await mysql.createConnection(root);
    await connection.query("CREATE DATABASE IF NOT EXISTS toolyard");
    await connection.end();
    return true;
  };
  const server: MysqlServer = {
    url: `${root}/toolyard`,
    async start() {
      const settings = ["--bind-address=127.0.0.1", `--socket=${join(dir, "socket")}`, "--max-connections=1000"];
      child = spawn(PROGRAM, ["--no-defaults", `--user=${user}`, `--datadir=${data}`, `--port=${port}`, ...settings], {
        stdio: "ignore",
      });
      await eventually("a MariaDB that is ready", connected);
    },
    async kill() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
  };
  // A test run that is broken off leaves none behind.
  const onExit = () => void child?.kill("SIGKILL");
  process.once("exit", onExit);
  try {
    await server.start();
    await run(server);
  } finally {
    await server.kill();
    process.off("exit", onExit);
    rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
  }
}
