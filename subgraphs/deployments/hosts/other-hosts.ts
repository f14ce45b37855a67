import type { LogsFrom } from "@toolyard/runtimes/runtime.ts";
import {
  createServiceCaller,
  newId,
  ToolyardError,
  type Caller,
  type GraphRequest,
  type Logger,
} from "@toolyard/service-kit";
import { createHttpGraphClient, type HttpGraphClient } from "@toolyard/service-kit/graph/http-graph-client.ts";
import { CALLER_HEADER, type TokenSigner } from "@toolyard/service-kit/identity/tokens.ts";
import type { HealthCheck, Replica } from "../deployment.ts";
import type { DeploymentLoad } from "../load.ts";
import type { ArchivedLine } from "../logs/log-archive.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import type { HostAgent } from "./host-agent.ts";
import { whyGone, type Host } from "./host.ts";

/** What only the agents of other hosts can tell. Each is asked over HTTP for its own, so that nothing is asked on. */
export interface OtherHosts {
  /** Their lines of a deployment with these replicas; one of Toolyard's own for each of them whose host does not answer. */
  logs(
    deploymentId: string,
    replicas: readonly Replica[],
    options: { last: number; replicaId: string | null },
  ): Promise<ArchivedLine[]>;
  /** Lines of a host's replicas of the deployment, new ones or from their start; the last one says that it is lost, unless `signal` aborts. */
  followLogs(replica: Replica, signal: AbortSignal, from: LogsFrom): AsyncIterable<ArchivedLine>;
  /** Calls the deployment's replicas there; those of a host that does not answer are UNKNOWN. */
  check(deploymentId: string, signal: AbortSignal): Promise<HealthCheck[]>;
  /** Null: it is a replica of this host. */
  sessions(replica: Replica): Promise<number> | null;
  /** Tells the hosts of these replicas that calls of theirs are within their time. Never throws. */
  noteBusy(replicas: readonly Pick<Replica, "id" | "hostId">[]): void;
  /** Tells all other hosts what a proxy told of its load. Never throws. */
  noteLoad(proxyId: string, loads: readonly DeploymentLoad[]): void;
  close(): Promise<void>;
}

const ANSWER_MS = 5_000;
const GOOD_FOR_MS = 2_000;

const LOGS = `query ($deploymentId: ID!, $last: Int!, $replicaId: ID) {
  logsOfHost(deploymentId: $deploymentId, last: $last, replicaId: $replicaId) { at stream text replicaId }
}`;
/** A host of the version before knows no `whole`. */
const followed = (from: LogsFrom) =>
  `subscription ($deploymentId: ID!) { logsOfHost(deploymentId: $deploymentId${from === "START" ? ", whole: true" : ""}) { at stream text replicaId } }`;
const CHECK = `mutation ($deploymentId: ID!) { checkReplicasOfHost(deploymentId: $deploymentId) }`;
const SESSIONS = `query ($deploymentId: ID!, $replicaId: ID!) { sessionsOfHost(deploymentId: $deploymentId, replicaId: $replicaId) }`;
const BUSY = `mutation ($replicaIds: [ID!]!) { noteBusyOfHost(replicaIds: $replicaIds) }`;
const LOAD = `mutation ($proxyId: ID!, $loads: [DeploymentLoadInput!]!) { noteLoadOfHost(proxyId: $proxyId, loads: $loads) }`;

type LineOfHost = Omit<ArchivedLine, "at"> & { at: string };
const toLine = (line: LineOfHost): ArchivedLine => ({ ...line, at: Date.parse(line.at) });

/** Whoever asks has been allowed to see what is asked for. */
export function createOtherHosts(options: {
  store: Pick<DeploymentStore, "replicasOf" | "healthChecksOf">;
  agent: Pick<HostAgent, "hostId" | "all">;
  signer: TokenSigner;
  logger: Logger;
  now: () => number;
}): OtherHosts {
  const { store, agent, signer, logger, now } = options;
  const as: Caller = createServiceCaller("deployments", ["internal:hosts"]);
  const clients = new Map<string, HttpGraphClient>();
  let known: { at: number; hosts: Promise<Map<string, Host & { isLiving: boolean }>> } | null = null;

  /** As of now, or of a moment ago. */
  function hosts(): Promise<Map<string, Host & { isLiving: boolean }>> {
    if (!known || Math.abs(now() - known.at) >= GOOD_FOR_MS)
      known = { at: now(), hosts: agent.all().then((all) => new Map(all.map((host) => [host.id, host]))) };
    return known.hosts;
  }

  function clientOf(url: string): HttpGraphClient {
    let client = clients.get(url);
    if (!client) {
      client = createHttpGraphClient({
        gatewayUrl: url.replace(/\/graphql$/, ""),
        subgraph: "The deployments subgraph of another host",
        headersOf: async (caller) => ({
          [CALLER_HEADER]: await signer.callerHeader(caller, "deployments", { isMutation: true }),
        }),
      });
      clients.set(url, client);
    }
    return client;
  }

  /** @throws ToolyardError UPSTREAM_UNAVAILABLE that says which host is away, and since when */
  async function reach(hostId: string): Promise<HttpGraphClient> {
    const host = (await hosts()).get(hostId);
    if (!host) throw new ToolyardError("UPSTREAM_UNAVAILABLE", `Nothing is known of host ${hostId}.`);
    if (!host.isLiving) throw new ToolyardError("UPSTREAM_UNAVAILABLE", whyGone(host));
    if (host.offer.url !== null) return clientOf(host.offer.url);
    const message = `Host ${hostId} cannot be asked: its deployments subgraph does not run as a process of its own.`;
    throw new ToolyardError("UPSTREAM_UNAVAILABLE", message);
  }

  async function ask<Data>(hostId: string, question: Omit<GraphRequest, "as">, ms = ANSWER_MS): Promise<Data> {
    const client = await reach(hostId);
    const timeout = AbortSignal.timeout(ms);
    const signal = question.signal ? AbortSignal.any([timeout, question.signal]) : timeout;
    return client.query<Data>({ ...question, as, signal });
  }

  /** In a sentence, without the other host's inner workings. */
  function whyUnanswered(hostId: string, error: unknown): string {
    if (!(error instanceof ToolyardError)) throw error;
    if (error.message.includes(`ost ${hostId} `)) return error.message;
    logger.warn({ host: hostId, reason: error.message }, "another host could not be asked");
    return `Host ${hostId} does not answer.`;
  }

  const untold = (hostId: string) => (error: unknown) =>
    logger.debug({ err: error, host: hostId }, "a host was not told what a proxy says of its calls");
  const note = (text: string, replicaId: string): ArchivedLine => ({ at: now(), stream: "SYSTEM", text, replicaId });
  const missing = (why: string) => `${why} Its output is missing here.`;

  return {
    async logs(deploymentId, replicas, { last, replicaId }) {
      const wanted = replicas.filter(({ id }) => replicaId === null || id === replicaId);
      // Those that are there may have the output of replicas that ended, or were moved.
      const living = [...(await hosts()).values()].filter(({ isLiving, offer }) => isLiving && offer.url !== null);
      const ids = new Set([...wanted, ...living.map(({ id }) => ({ hostId: id }))].map(({ hostId }) => hostId));
      ids.delete(agent.hostId);
      const answers = await Promise.all(
        [...ids].map(async (hostId) => {
          try {
            const variables = { deploymentId, last, replicaId };
            return (await ask<{ logsOfHost: LineOfHost[] }>(hostId, { query: LOGS, variables })).logsOfHost.map(toLine);
          } catch (error) {
            const why = missing(whyUnanswered(hostId, error));
            return wanted.filter((replica) => replica.hostId === hostId).map(({ id }) => note(why, id));
          }
        }),
      );
      return answers.flat();
    },

    async *followLogs({ hostId, deploymentId, id }, signal, from) {
      let why = `Host ${hostId} has ended its stream.`;
      try {
        const client = await reach(hostId);
        const lines = client.subscribe<{ logsOfHost: LineOfHost }>({
          query: followed(from),
          variables: { deploymentId },
          as,
          signal,
        });
        for await (const { logsOfHost } of lines) yield toLine(logsOfHost);
      } catch (error) {
        why = whyUnanswered(hostId, error);
      }
      if (!signal.aborted) yield note(missing(why), id);
    },

    async check(deploymentId, signal) {
      const others = (await store.replicasOf([deploymentId])).filter(({ hostId }) => hostId !== agent.hostId);
      const answers = await Promise.all(
        [...Map.groupBy(others, ({ hostId }) => hostId)].map(async ([hostId, replicas]) => {
          try {
            const question = { query: CHECK, variables: { deploymentId }, signal };
            const { checkReplicasOfHost: ids } = await ask<{ checkReplicasOfHost: string[] }>(hostId, question, 30_000);
            return { ids, unknown: [] };
          } catch (error) {
            const detail = whyUnanswered(hostId, error);
            const unknown = replicas.map(({ id }): HealthCheck => ({
              id: newId(),
              deploymentId,
              replicaId: id,
              at: now(),
              status: "UNKNOWN",
              kind: "none",
              latencyMs: 0,
              detail,
              words: null,
            }));
            return { ids: [], unknown };
          }
        }),
      );
      const made = new Set(answers.flatMap(({ ids }) => ids));
      const recorded = made.size === 0 ? [] : ((await store.healthChecksOf([deploymentId], 100))[0] ?? []);
      return [...recorded.filter(({ id }) => made.has(id)), ...answers.flatMap(({ unknown }) => unknown)];
    },

    sessions({ id: replicaId, hostId, deploymentId }) {
      if (hostId === agent.hostId) return null;
      return ask<{ sessionsOfHost: number }>(hostId, { query: SESSIONS, variables: { deploymentId, replicaId } }).then(
        ({ sessionsOfHost }) => sessionsOfHost,
      );
    },

    noteBusy(replicas) {
      const others = replicas.filter(({ hostId }) => hostId !== agent.hostId);
      for (const [hostId, busy] of Map.groupBy(others, (replica) => replica.hostId))
        ask(hostId, { query: BUSY, variables: { replicaIds: busy.map(({ id }) => id) } }).catch(untold(hostId));
    },

    noteLoad(proxyId, loads) {
      const tell = async (): Promise<void> => {
        for (const { id, isLiving, offer } of (await hosts()).values())
          if (id !== agent.hostId && isLiving && offer.url !== null)
            ask(id, { query: LOAD, variables: { proxyId, loads } }).catch(untold(id));
      };
      tell().catch(untold("another"));
    },

    async close() {
      await Promise.all([...clients.values()].map((client) => client.close()));
    },
  };
}
