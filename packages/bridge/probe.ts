import { code, type RpcError } from "./json-rpc.ts";
import { type Peer, PeerError } from "./peer.ts";
import { type Pool, Unavailable } from "./pool.ts";
import type { Sessions } from "./sessions.ts";
import { ownEnvelope, type SharedChildren } from "./shared.ts";

/** Whether the server serves, found out from what runs: a probe starts nothing that somebody else would wait for. */
export interface Probe {
  /**
   * A real call to a child that has nothing to do. Where all have, they are busy, and where one is starting it has the time that
   * starts have; neither is a failure.
   * @returns what the server answered it with
   * @throws Unavailable when the server does not start, or nothing that runs answers
   */
  run(): Promise<ProbeAnswer>;
}

export type ProbeAnswer = { state: "answered" | "busy" | "starting" } | { state: "refused"; error: RpcError };

/** Probes have shorter times of their own; this is until the question is forgotten. */
const forgetMs = 30_000;
/** One that hangs says nothing of the others. */
const mostAsked = 3;

export function createProbe(options: {
  pool: Pool;
  children: SharedChildren;
  sessions: Sessions;
  startTimeoutSeconds: number;
  now: () => number;
}): Probe {
  const { pool, children, sessions, startTimeoutSeconds, now } = options;
  /** Since when nothing runs. */
  let since: number | null = null;

  function running(): { peer: Peer; params: Record<string, unknown> | undefined }[] {
    const shared = children.all().map(({ peer, speaks }) => ({
      peer,
      params: speaks === "stateless" ? { _meta: ownEnvelope } : undefined,
    }));
    const own = [...sessions.all()]
      .filter(({ ready, peer }) => ready && !shared.some((other) => other.peer === peer))
      .map(({ peer }) => ({ peer, params: undefined }));
    return [...shared, ...own].filter(({ peer }) => peer.child.end === null && !peer.child.closing);
  }

  return {
    async run() {
      const all = running();
      if (all.length === 0) return starting();
      since = null;
      const idle = all.filter(({ peer }) => peer.open.size === 0).slice(0, mostAsked);
      try {
        if (idle.length === 0) return { state: "busy" };
        const { error } = await Promise.any(idle.map(({ peer, params }) => peer.ask("tools/list", params, forgetMs)));
        return error === undefined || error.code === code.methodNotFound
          ? { state: "answered" }
          : { state: "refused", error };
      } catch (error) {
        if (running().some(({ peer }) => peer.open.size > 0)) return { state: "busy" };
        const [first] = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
        throw new Unavailable(first instanceof PeerError ? first.message : String(first), 1);
      }
    },
  };

  function starting(): ProbeAnswer {
    children.warm();
    since ??= now();
    if (pool.failure !== null) throw new Unavailable(pool.failure.reason, 1);
    if (now() - since > startTimeoutSeconds * 1000)
      throw new Unavailable(`the server has not answered initialize within ${startTimeoutSeconds} s`, 1);
    return { state: "starting" };
  }
}
