import { isObject } from "@toolyard/service-kit/json.ts";
import type { LineLog } from "./child/line-log.ts";
import { code, type Message, type RpcError } from "./protocol/json-rpc.ts";
import type { Debt, Peer } from "./child/peer.ts";
import { type Pool, Unavailable } from "./child/pool.ts";
import type { Sessions } from "./sessions/sessions.ts";
import { ownEnvelope } from "./child-opening.ts";
import type { SharedChildren } from "./shared-children.ts";

/** Whether the server serves, as the running children show: a probe starts nothing that would delay a caller. */
export interface Probe {
  /**
   * A real call to children that have nothing to do, each in its turn. If all have, the server is busy, and a starting child has
   * the time of a start; neither is a failure. A child that answers none of its probes, where others do, is ended.
   *
   * @param limitMs How long an answer may take
   * @returns the outcome; "silent": no running child answered in time or has an excuse
   * @throws Unavailable when the server does not start
   */
  run(limitMs: number): Promise<ProbeAnswer>;
}

type ProbeAnswer =
  | { state: "answered"; tools: ProbedTools | null }
  | { state: "busy" | "starting" | "silent" }
  | { state: "refused"; error: RpcError };

/** Names of the tools that the server listed last. */
interface ProbedTools {
  names: string[];
  /** Whether that is all of its list. */
  isWhole: boolean;
}

/** A `tools/list` that went to a child. It is not repeated before it is answered: a hanging server must not pile them up. */
interface Question {
  readonly at: number;
  /** Probes that found it unanswered after its time. */
  misses: number;
  answer: Promise<Message | null>;
}

/** Children asked at once; as many more each time that none of them answered for a while. */
const ASKED_AT_ONCE = 3;
const NEXT_AFTER_MS = 1_000;
const MAX_MISSES = 3;
/** Of tools that are told of, and how long each may be: all that can be called is told apart by that. */
const MAX_NAMES = 1_001;
/** Of one list. */
const MAX_PAGES = 100;
const MAX_NAME_LENGTH = 256;

/**
 * BUSY: it has calls, and is let alone. EXCUSED: it may be in a call that its asker gave up, of which a server that does one thing at
 * a time knows nothing yet. OVERDUE: a whole call's time passed in silence; newer calls are no excuse, or a hanging server
 * would be excused for ever.
 */
export type Responsiveness = "IDLE" | "BUSY" | "EXCUSED" | "OVERDUE";

export function responsivenessOf({ calls, silentSince }: Debt, now: number, timeoutMs: number): Responsiveness {
  if (silentSince !== null && now - silentSince >= timeoutMs) return "OVERDUE";
  if (calls > 0) return "BUSY";
  return silentSince === null ? "IDLE" : "EXCUSED";
}

export function createProbe(options: {
  pool: Pool;
  children: SharedChildren;
  sessions: Sessions;
  log: LineLog;
  /** A call's time. */
  timeoutSeconds: number;
  startTimeoutSeconds: number;
  now: () => number;
}): Probe {
  const { pool, children, sessions, log, timeoutSeconds, startTimeoutSeconds, now } = options;
  const questions = new WeakMap<Peer, Question>();
  const answeredAt = new WeakMap<Peer, number>();
  /** A list of more than one page, by its first page. */
  let paged: Paged = { key: "", tools: { names: [], isWhole: false }, isRead: false };
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

  function ask({ peer, params }: ReturnType<typeof running>[number]): Promise<Message | null> {
    const asked = questions.get(peer);
    if (asked !== undefined) return asked.answer;
    const answer = peer.ask("tools/list", params, null).then(
      (message) => {
        answeredAt.set(peer, now());
        questions.delete(peer);
        return message;
      },
      // It ended, which its end reports.
      () => null,
    );
    questions.set(peer, { at: now(), misses: 0, answer });
    return answer;
  }

  /** More pages are asked for meanwhile, when the first has changed: the next probe reports them. */
  function toolsOf(child: ReturnType<typeof running>[number], { result }: Message): ProbedTools | null {
    const page = pageOf(result);
    if (page === null) return null;
    if (page.nextCursor === null) return { names: page.names, isWhole: true };
    const key = JSON.stringify(page.names);
    if (paged.key !== key && !paged.isRead) {
      paged = { key, tools: { names: page.names, isWhole: false }, isRead: true };
      void readOn(child, page, paged);
    }
    return paged.tools;
  }

  async function readOn({ peer, params }: ReturnType<typeof running>[number], first: Page, into: Paged): Promise<void> {
    const { tools } = into;
    let { nextCursor } = first;
    for (let pages = 1; nextCursor !== null && pages < MAX_PAGES && tools.names.length < MAX_NAMES; pages += 1) {
      // It ended, or does not answer: the known part stays, marked incomplete.
      const message = await peer
        .ask("tools/list", { ...params, cursor: nextCursor }, timeoutSeconds * 1_000)
        .catch(() => null);
      const page = pageOf(message?.result);
      if (page === null || page.names.length === 0) break;
      tools.names = [...tools.names, ...page.names].slice(0, MAX_NAMES);
      nextCursor = page.nextCursor;
    }
    tools.isWhole = nextCursor === null && tools.names.length < MAX_NAMES;
    into.isRead = false;
  }

  const responsiveness = (peer: Peer): Responsiveness => responsivenessOf(peer.debt, now(), timeoutSeconds * 1_000);
  /** Except by messages after a question asked while it was idle. */
  const isExcused = (peer: Peer): boolean => {
    const asked = questions.get(peer)?.at ?? Infinity;
    return ["BUSY", "EXCUSED"].includes(responsiveness(peer)) && (peer.debt.silentSince ?? 0) <= asked;
  };
  const isMissed = (peer: Peer, limitMs: number): boolean => {
    const question = questions.get(peer);
    return question !== undefined && now() - question.at >= limitMs;
  };

  /** The first good answer, else an error that was answered, else null. */
  async function firstAnswer(queue: ReturnType<typeof running>, limitMs: number): Promise<ProbeAnswer | null> {
    const deadline = performance.now() + limitMs;
    let refused: ProbeAnswer | null = null;
    let open = 0;
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | null = null;
      let ended = false;
      const end = (answer: ProbeAnswer | null): void => {
        ended = true;
        if (timer !== null) clearTimeout(timer);
        resolve(answer);
      };
      const more = (): void => {
        if (ended) return;
        for (const child of queue.splice(0, ASKED_AT_ONCE)) {
          open += 1;
          void ask(child).then((message) => {
            open -= 1;
            if (message !== null && (message.error === undefined || message.error.code === code.methodNotFound))
              return end({ state: "answered", tools: toolsOf(child, message) });
            if (message?.error !== undefined) refused = { state: "refused", error: message.error };
            if (open > 0) return;
            if (queue.length === 0) end(refused);
            else more();
          });
        }
        const leftMs = deadline - performance.now();
        if (timer !== null) clearTimeout(timer);
        timer = setTimeout(
          () => (performance.now() >= deadline - 1 ? end(refused) : more()),
          queue.length === 0 ? Math.max(0, leftMs) : Math.min(NEXT_AFTER_MS, Math.max(0, leftMs)),
        );
      };
      more();
    });
  }

  /** Children whose time for an answer is over though others answer or still may: only these are stopped. */
  function endSilent(limitMs: number): void {
    for (const { peer } of running()) {
      const question = questions.get(peer);
      if (question === undefined || !isMissed(peer, limitMs) || isExcused(peer)) continue;
      question.misses += 1;
      if (question.misses < MAX_MISSES) continue;
      log.write("SYSTEM", `a process of the server has not answered tools/list for ${limitMs / 1000} s and is ended`);
      for (const session of sessions.all())
        if (session.peer === peer)
          sessions.remove(session, "the server does not answer any more; its process was ended");
      children.end(peer);
    }
  }

  return {
    async run(limitMs) {
      const all = running();
      if (all.length === 0) return starting();
      since = null;
      const order = (peer: Peer): number => answeredAt.get(peer) ?? 0;
      const asked = all
        .filter(({ peer }) => responsiveness(peer) !== "BUSY" && !isMissed(peer, limitMs))
        .toSorted((one, other) => order(one.peer) - order(other.peer));
      const answer = asked.length === 0 ? null : await firstAnswer(asked, limitMs);
      if (answer !== null) {
        endSilent(limitMs);
        return answer;
      }
      const left = running();
      if (left.length === 0) return starting();
      if (!left.some(({ peer }) => isExcused(peer))) return { state: "silent" };
      endSilent(limitMs);
      return { state: "busy" };
    },
  };

  function starting(): ProbeAnswer {
    children.warm();
    since ??= now();
    if (pool.failure !== null) throw new Unavailable(pool.failure.reason, 1);
    if (now() - since > startTimeoutSeconds * 1000)
      throw new Unavailable(
        `the server has not answered initialize within ${startTimeoutSeconds} s (startTimeoutSeconds)`,
        1,
      );
    return { state: "starting" };
  }
}

/** A list of several pages, as far as it was read. */
interface Paged {
  /** Names on its first page. */
  key: string;
  tools: ProbedTools;
  /** Whether it is being read on. */
  isRead: boolean;
}

interface Page {
  names: string[];
  nextCursor: string | null;
}

function pageOf(result: unknown): Page | null {
  if (!isObject(result) || !Array.isArray(result.tools)) return null;
  const names: string[] = [];
  for (const tool of result.tools.slice(0, MAX_NAMES) as unknown[])
    if (isObject(tool) && typeof tool.name === "string") names.push(tool.name.slice(0, MAX_NAME_LENGTH));
  return { names, nextCursor: typeof result.nextCursor === "string" ? result.nextCursor : null };
}
