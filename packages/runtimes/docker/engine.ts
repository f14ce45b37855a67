import { readFileSync } from "node:fs";
import { Agent } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { join } from "node:path";
import { preconditionFailed, systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { bareHost, isLoopback } from "@toolyard/service-kit/http/hosts.ts";
import Docker from "dockerode";

type Question<Answer> = (docker: Docker, abortSignal: AbortSignal) => Promise<Answer>;

/** A container engine that speaks Docker's API: Docker's own, or Podman's. */
export interface Engine {
  /**
   * Asks it for one thing, in time.
   * @throws EngineRefusal with the engine's words, and ToolyardError UPSTREAM_UNAVAILABLE when it does not answer.
   */
  ask<Answer>(question: Question<Answer>): Promise<Answer>;
  /** Opens a stream, which ends when `signal` aborts. @throws as `ask` does */
  open(question: Question<NodeJS.ReadableStream>, signal: AbortSignal): Promise<NodeJS.ReadableStream>;
  /** Whether what it publishes on loopback is reached from here. */
  isHere: boolean;
}

/** What the engine answered in place of what it was asked for. */
export class EngineRefusal extends Error {
  override readonly name = "EngineRefusal";
  readonly status: number;

  constructor(status: number, message: string, cause: unknown) {
    super(message, { cause });
    this.status = status;
  }
}

export interface EngineOptions {
  /** `unix://PATH` or `tcp://HOST:PORT`. */
  url: string;
  /** A folder with `ca.pem`, `cert.pem` and `key.pem`; null: without TLS. */
  certificates: string | null;
  /** How long it may take to answer. @default 30000 */
  timeoutMs?: number;
}

/** @throws ToolyardError PRECONDITION_FAILED for another kind of URL */
export function createEngine({ url, certificates, timeoutMs = 30_000 }: EngineOptions): Engine {
  const docker = new Docker(connectionOf(url, certificates));

  const translated = async <Answer>(asked: Promise<Answer>): Promise<Answer> => {
    try {
      return await asked;
    } catch (error) {
      throw toRefusal(error) ?? unavailable(error);
    }
  };

  return {
    ask(question) {
      const late = AbortSignal.timeout(timeoutMs);
      // Not all that dockerode asks takes a signal.
      return translated(Promise.race([question(docker, late), aborted(late)]));
    },
    async open(question, signal) {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), timeoutMs);
      try {
        const stream = await translated(question(docker, AbortSignal.any([signal, late.signal])));
        // It may break before it is read, which throws then.
        return stream.on("error", () => undefined);
      } finally {
        clearTimeout(timer);
      }
    },
    isHere: url.startsWith("unix:") || isLocal(hostOf(url)),
  };
}

/** Its agent is no part of the types, though dockerode hands it on. */
function connectionOf(url: string, certificates: string | null): Docker.DockerOptions & { agent: Agent } {
  // A connection that the engine closed while it was kept would look like an engine that is away.
  const agent = new Agent({ keepAlive: false });
  // What is undefined here is not taken from this process's environment, where dockerode looks, too.
  if (url.startsWith("unix:"))
    return { agent, host: undefined, port: undefined, socketPath: url.slice("unix://".length) };
  const { protocol, port } = URL.parse(url) ?? {};
  if (protocol !== "tcp:") throw preconditionFailed("DOCKER_HOST", "DOCKER_HOST must begin with unix:// or tcp://.");
  const place = { host: hostOf(url), pathPrefix: "/" };
  if (certificates === null) return { ...place, agent, port: port || 2375, protocol: "http" };
  const read = (file: string) => readFileSync(join(certificates, file));
  const identity = { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
  return { ...place, ...identity, agent: new TlsAgent({ keepAlive: false }), port: port || 2376, protocol: "https" };
}

const hostOf = (url: string): string => bareHost(new URL(url).hostname);
const isLocal = (host: string): boolean => host === "localhost" || isLoopback(host);

/** Errors of dockerode carry the status and the answer. */
function toRefusal(error: unknown): EngineRefusal | null {
  if (!(error instanceof Error) || !("statusCode" in error) || typeof error.statusCode !== "number") return null;
  const answer: unknown = "json" in error ? error.json : null;
  const told = typeof answer === "object" && answer !== null && "message" in answer ? answer.message : null;
  return new EngineRefusal(error.statusCode, (typeof told === "string" ? told : error.message).trim(), error);
}

function unavailable(cause: unknown): ToolyardError {
  const why = systemCodeOf(cause) ?? (cause instanceof Error ? cause.name : "unknown");
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The container engine does not answer (${why}).`, { cause });
}

/** Rejects with the signal's reason once it aborts. */
export function aborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  return promise;
}

/** The lines of a stream that are not empty. @throws what breaks it */
export async function* linesOf(stream: NodeJS.ReadableStream): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk as Buffer, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line.trim() !== "");
  }
  if (rest.trim() !== "") yield rest;
}

/** The answer, or null where what was asked about does not exist. */
export async function orNull<Answer>(asked: Promise<Answer>): Promise<Answer | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof EngineRefusal && error.status === 404) return null;
    throw error;
  }
}
