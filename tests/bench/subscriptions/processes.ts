import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Usage } from "./messages.ts";
import type { Question } from "./probe.ts";

/** A process that answers each message with one. */
export interface Peer {
  readonly pid: number;
  ask<Answer>(message: object): Promise<Answer>;
  tell(message: object): void;
  /** Waits for the process's end. @throws Error when that takes too long */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

const root = join(import.meta.dirname, "..", "..", "..");

/** Starts one of the benchmark's own processes, named by its file, and waits for its first message. */
export async function startPeer<Ready>(file: string, args: readonly string[]): Promise<Peer & { ready: Ready }> {
  const child = fork(join(import.meta.dirname, file), [...args], { execArgv: ["--expose-gc"] });
  return { ready: await nextMessage<Ready>(child), ...peerOf(child) };
}

/** Starts a part of Toolyard as its users do, and waits until it answers at `/health/live` or `/health`. */
export async function startService(options: {
  /** As in `gateway/main.ts`. */
  main: string;
  args?: readonly string[];
  env: Record<string, string>;
  port: number;
  /** Where it answers once it is ready. */
  path: string;
}): Promise<Peer & { usage(question?: Question): Promise<Usage> }> {
  const { main, args = [], env, port, path } = options;
  const child = fork(join(root, main), [...args], {
    execArgv: ["--expose-gc", "--import", join(import.meta.dirname, "probe.ts")],
    env: { PATH: process.env["PATH"], LOG_LEVEL: "error", ...env, PORT: String(port) },
  });
  const peer = peerOf(child);
  const deadline = Date.now() + 30_000;
  while (!(await answers(`http://127.0.0.1:${port}${path}`))) {
    if (child.exitCode !== null) throw new Error(`${main} ended with ${child.exitCode}.`);
    if (Date.now() > deadline) throw new Error(`${main} does not answer.`);
    await delay(20);
  }
  return { ...peer, usage: (question = {}) => peer.ask<Usage>(question) };
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return true;
  } catch {
    return false; // not there yet
  }
}

async function nextMessage<Message>(child: ChildProcess): Promise<Message> {
  const ended = new AbortController();
  const exit = once(child, "exit", { signal: ended.signal }).then(([code]) => {
    throw new Error(`A process of the benchmark ended with ${String(code)}.`);
  });
  exit.catch(() => undefined); // the message came first
  try {
    const [message] = (await Promise.race([once(child, "message"), exit])) as [Message]; // sent by this benchmark's files
    return message;
  } finally {
    ended.abort();
  }
}

function peerOf(child: ChildProcess): Peer {
  let last: Promise<unknown> = Promise.resolve();
  return {
    pid: child.pid ?? 0,
    ask<Answer>(message: object) {
      const answer = last.then(() => {
        const next = nextMessage<Answer>(child);
        child.send(message);
        return next;
      });
      last = answer.catch(() => undefined);
      return answer;
    },
    tell: (message) => void child.send(message),
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill(signal);
      const late = delay(30_000, "late" as const, { ref: false });
      if ((await Promise.race([exited, late])) !== "late") return;
      child.kill("SIGKILL");
      throw new Error(`A process did not end on ${signal}.`);
    },
  };
}
