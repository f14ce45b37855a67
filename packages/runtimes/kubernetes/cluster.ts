import { existsSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request, type RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import {
  ApiException,
  AppsV1Api,
  CoreV1Api,
  KubeConfig,
  NetworkingV1Api,
  Observable,
  PatchStrategy,
  type ConfigurationOptions,
  type ObservableMiddleware,
  type RequestContext,
} from "@kubernetes/client-node";
import { preconditionFailed, systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";

/** By whom Toolyard is known to a cluster. */
export type ClusterCredentials =
  | { kind: "token"; endpoint: string; token: () => string; caFile: string | null }
  /** Files of the form of kubectl's, separated as PATH is; null: `~/.kube/config`. */
  | { kind: "kubeconfig"; files: string | null }
  /** The ServiceAccount of the pod that this process is in. */
  | { kind: "pod" };

export interface Api {
  core: CoreV1Api;
  apps: AppsV1Api;
  networking: NetworkingV1Api;
}

type Options = ConfigurationOptions;
/** `apply` in place of `options` has a patch be one of server-side apply, `merge` a merge patch. */
type Question<Answer> = (api: Api, how: { options: Options; apply: Options; merge: Options }) => Promise<Answer>;

/** The API server of a cluster, and one namespace in it, the only one that is asked about. */
export interface Cluster {
  readonly namespace: string;
  /**
   * Asks it for one thing, in time. Credentials that it refuses are read anew, once.
   * @throws ClusterRefusal with the cluster's words, and ToolyardError UPSTREAM_UNAVAILABLE when it does not answer or does not know Toolyard.
   */
  ask<Answer>(question: Question<Answer>): Promise<Answer>;
  /** The body of a GET, as it comes, until `signal` aborts. @throws as `ask` does */
  open(path: string, query: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage>;
  /** The configuration in use, for the library's own watches. */
  config(): KubeConfig;
}

/** What the cluster answered in place of what it was asked for. */
export class ClusterRefusal extends Error {
  override readonly name = "ClusterRefusal";
  readonly status: number;

  constructor(status: number, message: string, cause: unknown) {
    super(message, { cause });
    this.status = status;
  }
}

interface Connection extends Api {
  config: KubeConfig;
  /** The library has one made for each request. */
  dispatcher: ReturnType<RequestContext["getDispatcher"]>;
}

const UNAUTHORIZED = 401;

/** @throws ToolyardError PRECONDITION_FAILED when the credentials cannot be read */
export function createCluster(options: {
  credentials: ClusterCredentials;
  namespace: string;
  /** How long it may take to answer. @default 30000 */
  timeoutMs?: number;
}): Cluster {
  const { credentials, namespace, timeoutMs = 30_000 } = options;
  let connection = connect(credentials);

  function optionsOf(current: Connection, signal: AbortSignal, contentType: string | null): Options {
    const middleware: ObservableMiddleware = {
      pre(context) {
        current.dispatcher ??= context.getDispatcher();
        if (current.dispatcher) context.setDispatcher(current.dispatcher);
        context.setSignal(signal);
        if (contentType !== null) context.setHeaderParam("Content-Type", contentType);
        return new Observable(Promise.resolve(context));
      },
      post: (response) => new Observable(Promise.resolve(response)),
    };
    return { middleware: [middleware], middlewareMergeStrategy: "append" };
  }

  async function askOnce<Answer>(question: Question<Answer>): Promise<Answer> {
    const signal = AbortSignal.timeout(timeoutMs);
    return question(connection, {
      options: optionsOf(connection, signal, null),
      apply: optionsOf(connection, signal, PatchStrategy.ServerSideApply),
      merge: optionsOf(connection, signal, PatchStrategy.MergePatch),
    });
  }

  /** Tried again with what the files say by now where the cluster does not know Toolyard. */
  async function renewing<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    try {
      return await work().catch((error: unknown) => {
        if (toRefusal(error)?.status !== UNAUTHORIZED) throw error;
        connection = connect(credentials);
        return work();
      });
    } catch (error) {
      const refusal = toRefusal(error);
      throw refusal === null ? unavailable(error) : explained(refusal, namespace);
    }
  }

  return {
    namespace,
    ask: (question) => renewing(() => askOnce(question)),
    open: (path, query, signal) => renewing(() => openOnce(connection.config, path, query, signal, timeoutMs)),
    config: () => connection.config,
  };
}

async function openOnce(
  config: KubeConfig,
  path: string,
  query: Record<string, string>,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<IncomingMessage> {
  const url = new URL(`${config.getCurrentCluster()?.server ?? ""}${path}?${new URLSearchParams(query).toString()}`);
  const given: RequestOptions = {};
  await config.applyToHTTPSOptions(given);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), timeoutMs);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request(url, { ...given, signal: AbortSignal.any([signal, late.signal]) }, resolve);
  sent.on("error", reject).end();
  try {
    const answer = await promise;
    if (answer.statusCode === 200) return answer;
    let text = "";
    for await (const chunk of answer.setEncoding("utf8")) text += String(chunk);
    throw new ClusterRefusal(answer.statusCode ?? 0, wordsOf(text), null);
  } finally {
    clearTimeout(timer);
  }
}

function connect(credentials: ClusterCredentials): Connection {
  const config = new KubeConfig();
  try {
    load(config, credentials);
    if (config.getCurrentCluster() === null) throw new Error("it names no cluster");
    return {
      config,
      core: config.makeApiClient(CoreV1Api),
      apps: config.makeApiClient(AppsV1Api),
      networking: config.makeApiClient(NetworkingV1Api),
      dispatcher: undefined,
    };
  } catch (error) {
    const why = systemCodeOf(error) ?? (error instanceof Error ? error.message : String(error));
    throw preconditionFailed("KUBECONFIG", `It cannot be read where the cluster is: ${why}.`, error);
  }
}

function load(config: KubeConfig, credentials: ClusterCredentials): void {
  if (credentials.kind === "pod") return config.loadFromCluster();
  if (credentials.kind === "token") {
    const { endpoint, token, caFile } = credentials;
    return config.loadFromClusterAndUser(
      { name: "cluster", server: endpoint, skipTLSVerify: false, ...(caFile !== null && { caFile }) },
      { name: "toolyard", token: token() },
    );
  }
  const files = credentials.files ?? join(homedir(), ".kube", "config");
  // kubectl skips those of a list that are not there.
  const [first = files, ...others] = files.split(delimiter).filter((file) => file !== "" && existsSync(file));
  config.loadFromFile(first);
  for (const file of others) {
    const other = new KubeConfig();
    other.loadFromFile(file);
    config.mergeConfig(other, true);
  }
}

function toRefusal(error: unknown): ClusterRefusal | null {
  if (error instanceof ClusterRefusal) return error;
  if (error instanceof ApiException) return new ClusterRefusal(error.code, wordsOf(error.body), error);
  // So the library's watch tells a status.
  if (error instanceof Error && "statusCode" in error && typeof error.statusCode === "number")
    return new ClusterRefusal(error.statusCode, error.message, error);
  return null;
}

/** The message of a Kubernetes Status; any other answer as it is. */
function wordsOf(body: unknown): string {
  const told: unknown = typeof body === "string" ? (parsed(body) ?? body) : body;
  const message = typeof told === "object" && told !== null && "message" in told ? told.message : told;
  return (typeof message === "string" ? message : (JSON.stringify(message) ?? ""))
    .trim()
    .replace(/\s+/g, " ")
    .slice(0, 1_000);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** So RBAC words what Toolyard has no right to, and no other refusal does. */
const NO_RIGHT = /cannot (?:get|list|watch|create|patch|update|delete) resource/;

/** Refusals that are not about what was asked, but about who asked. */
function explained(refusal: ClusterRefusal, namespace: string): Error {
  const { status, message } = refusal;
  const unavailableFor = (why: string) => new ToolyardError("UPSTREAM_UNAVAILABLE", why, { cause: refusal });
  if (status === UNAUTHORIZED)
    return unavailableFor("The cluster does not accept Toolyard's credentials: they are wrong, or have expired.");
  if (status === 403 && NO_RIGHT.test(message))
    return unavailableFor(
      `Toolyard has no right to do this in the namespace ${namespace} (scripts/setup-k8s.sh gives it). The cluster said: ${message}`,
    );
  if (status === 404 && message.startsWith("namespaces "))
    return unavailableFor(`The cluster has no namespace ${namespace} (scripts/setup-k8s.sh makes it).`);
  if (status === 429 || status >= 500) return unavailableFor(`The cluster cannot do this now. It said: ${message}`);
  return refusal;
}

function unavailable(error: unknown): ToolyardError {
  if (error instanceof ToolyardError) return error;
  let code: string | null = null;
  for (let cause = error; code === null && cause instanceof Error; cause = cause.cause) code = systemCodeOf(cause);
  const why = code ?? (error instanceof Error ? error.name : "unknown");
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The cluster does not answer (${why}).`, { cause: error });
}

/** The answer, or null where what was asked about does not exist. */
export async function orNull<Answer>(asked: Promise<Answer>): Promise<Answer | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ClusterRefusal && error.status === 404) return null;
    throw error;
  }
}
