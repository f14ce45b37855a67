import { setTimeout as delay } from "node:timers/promises";
import {
  measureHealth,
  messageOf,
  systemCodeOf,
  type Logger,
  type ServiceHealth,
  type Subgraph,
} from "@toolyard/service-kit";
import { clockHealth } from "@toolyard/service-kit/process/measured-clock.ts";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { z } from "zod";

const healthStatus = z.enum(["healthy", "degraded", "unhealthy"] satisfies ServiceHealth["status"][]);

export const healthReport = z.object({
  status: healthStatus,
  timestamp: z.iso.datetime(),
  services: z
    .record(
      z.string(),
      z.object({
        status: healthStatus,
        essential: z.boolean(),
        response_time_ms: z.number(),
        detail: z.string().optional().describe("What is wrong, for people."),
      }),
    )
    .describe("By name. Where an essential one is unhealthy, all is."),
  notes: z
    .array(z.string())
    .optional()
    .describe("Warnings for operators though nothing is broken, such as replicas that run unisolated."),
});
export type HealthReport = z.infer<typeof healthReport>;

/** Asks every part at once, each with a deadline. */
export async function checkHealth(options: {
  checks: readonly (() => Promise<ServiceHealth[]>)[];
  notes?: readonly string[];
}): Promise<HealthReport> {
  const found = (await Promise.all(options.checks.map((check) => check()))).flat();
  const services = new Map<string, ServiceHealth>();
  // Several subgraphs report the same store: the worst answer is the one to show.
  for (const service of found) {
    const before = services.get(service.name);
    if (!before || severity(service) > severity(before)) services.set(service.name, service);
  }
  const all = [...services.values()];
  const broken = all.filter(({ status }) => status === "unhealthy");
  const status =
    broken.some(({ essential }) => essential) || (broken.length > 0 && broken.length === all.length)
      ? "unhealthy"
      : all.some((service) => service.status !== "healthy")
        ? "degraded"
        : "healthy";
  return {
    status,
    timestamp: new Date().toISOString(),
    services: Object.fromEntries(
      all.map((service) => [
        service.name,
        {
          status: service.status,
          essential: service.essential,
          response_time_ms: service.responseTimeMs,
          ...(service.detail !== undefined && { detail: service.detail }),
        },
      ]),
    ),
    ...(options.notes?.length && { notes: [...options.notes] }),
  };
}

/** The worse, the higher: of two that are broken, the essential one. */
function severity({ status, essential }: ServiceHealth): number {
  return (status === "healthy" ? 0 : status === "degraded" ? 2 : 4) + (essential ? 1 : 0);
}

/** A subgraph by its name, as ill as the worst of its dependencies, and these dependencies. */
export async function checkSubgraph(
  subgraph: Pick<Subgraph, "name" | "health">,
): Promise<[ServiceHealth, ...ServiceHealth[]]> {
  const started = performance.now();
  const parts = await subgraph.health();
  const worst = parts.toSorted((a, b) => severity(b) - severity(a))[0];
  const self: ServiceHealth = {
    name: subgraph.name,
    status: worst?.status ?? "healthy",
    essential: worst?.essential ?? false,
    responseTimeMs: Math.round((performance.now() - started) * 100) / 100,
    ...(worst?.detail !== undefined && { detail: worst.detail }),
  };
  return [self, ...parts];
}

/** Whether an HTTP service answers its health path with 2xx. `variable` names the variable with its address. */
export async function checkHttp(
  name: string,
  url: string,
  variable: string,
  { essential = false }: { essential?: boolean } = {},
): Promise<[ServiceHealth]> {
  const check = async () => {
    const response = await ask(url, variable, {});
    if (!response.ok) throw strangeAnswer(response.status, variable);
  };
  return [await measureHealth(name, check, { essential })];
}

const subgraphReport = z.object({
  /** By the clock of its host. */
  timestamp: z.iso.datetime().exactOptional(),
  services: z.array(
    z.object({
      name: z.string(),
      status: healthStatus,
      essential: z.boolean(),
      responseTimeMs: z.number(),
      detail: z.string().exactOptional(),
    }),
  ),
});

/** One of Toolyard's subgraphs over HTTP: as ill as the worst of what it rests on, which is shown beside it. */
export async function checkRemoteSubgraph(
  name: string,
  url: string,
  variable: string,
  { essential = false }: { essential?: boolean } = {},
): Promise<ServiceHealth[]> {
  let parts: ServiceHealth[] = [];
  const check = async () => {
    const begun = Date.now();
    const response = await ask(url, variable, {}, SUBGRAPH_ANSWER_MS);
    const ended = Date.now();
    const report = subgraphReport.safeParse(parseJson(response.text));
    if (!report.success) throw strangeAnswer(response.status, variable);
    const { timestamp, services } = report.data;
    parts = [
      // The first, since it was measured.
      ...(timestamp === undefined ? [] : clockOf(name, Date.parse(timestamp), begun, ended)),
      ...services.map((part) => ({
        ...part,
        // Others may have what they need.
        essential: false,
        // Of a host that others are not on.
        ...(part.name === "clock" && { detail: `${name}: ${part.detail}` }),
      })),
    ];
  };
  const self = await measureHealth(name, check, { essential, timeoutMs: SUBGRAPH_ANSWER_MS + 100 });
  if (self.status !== "healthy") return [self];
  const [{ status, detail }] = await checkSubgraph({ name, health: async () => parts });
  return [{ ...self, status, ...(detail !== undefined && { detail }) }, ...parts];
}

/** `clock`, where the time of an answer cannot be between when it was asked for and when it came. */
function clockOf(name: string, time: number, begun: number, ended: number): ServiceHealth[] {
  const aheadMs = time < begun ? time - begun : Math.max(0, time - ended);
  return clockHealth(aheadMs, (difference) => `The clock of ${name}'s host is ${difference} this gateway's.`);
}

/** Whether a third-party subgraph answers GraphQL at all. */
export async function checkGraphql(name: string, url: string): Promise<[ServiceHealth]> {
  const service = await measureHealth(name, async () => {
    const response = await ask(url, "SUBGRAPH_URLS or the supergraph", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":"{ __typename }"}',
    });
    if (response.status >= 500) throw new Error(`It answered ${response.status}.`);
  });
  return [service];
}

const ANSWER_MS = 1_900;
const MAX_REPORT_CHARACTERS = 100_000;
/** A part's own stores may take long to be found away. */
const SUBGRAPH_ANSWER_MS = 5_000;

async function ask(url: string, variable: string, init: RequestInit, answerMs = ANSWER_MS) {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(answerMs) });
    return { ok: response.ok, status: response.status, text: await textOf(response) };
  } catch (error) {
    // Not the address itself: everybody may read this, and it may hold a password.
    throw new Error(`${whyUnreached(error, answerMs)} It is looked for where ${variable} says.`, { cause: error });
  }
}

/** A report is small: of another body only the beginning is read. */
async function textOf(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_REPORT_CHARACTERS) break;
  }
  return text;
}

/** One that fails is what the variable should name; any other answer may be a stranger's. */
function strangeAnswer(status: number, variable: string): Error {
  return new Error(`It answered ${status}${status >= 500 ? "." : `; ${variable} may name something else.`}`);
}

function whyUnreached(error: unknown, answerMs: number): string {
  // fetch says "fetch failed", and has the reason in `cause`; only of an address that it does not take it has none.
  const isTimeout = error instanceof Error && error.name === "TimeoutError";
  const cause = error instanceof Error ? error.cause : undefined;
  // An error of undici's parser has no code.
  const code = systemCodeOf(cause) ?? (cause instanceof Error ? cause.name : "");
  if (isTimeout) return `It did not answer within ${answerMs / 1_000} s.`;
  if (code === "ECONNREFUSED") return "Nothing listens there (connection refused).";
  if (code === "ENOTFOUND") return "Its host name is not known.";
  if (code === "EAI_AGAIN") return "Its host name could not be looked up.";
  if (/TIMEDOUT|TIMEOUT|UNREACH/.test(code)) return `Its host cannot be reached (${code}).`;
  if (/WRONG_VERSION|EPROTO|SSL_PACKET/.test(code))
    return "It does not speak TLS there: its URL must begin with http://.";
  if (/CERT|TLS|SSL|SIGNED|UNABLE_TO_/.test(code)) return `Its certificate is not accepted (${code}).`;
  if (/^HPE_|^HTTPParser|RESET|UND_ERR_SOCKET|EPIPE/.test(code))
    return "It does not answer by HTTP; it may speak TLS (https://), or be something else.";
  return cause === undefined ? "It cannot be asked at this address." : `It cannot be asked (${messageOf(cause)}).`;
}

const LOOK_AGAIN_MS = 500;

/**
 * Waits until one of the subgraphs answers: a gateway that reaches none is of no use yet, and logs why.
 * @returns false when `signal` aborted before
 */
export async function reachSubgraphs(options: {
  check: () => Promise<ServiceHealth[]>;
  logger: Logger;
  signal: AbortSignal;
}): Promise<boolean> {
  const { check, logger, signal } = options;
  for (let told = false; !signal.aborted;) {
    const found = await check();
    const missing = found.filter(({ status }) => status === "unhealthy");
    const details = Object.fromEntries(missing.map(({ name, detail }) => [name, detail]));
    const isReached = missing.length < found.length;
    if (missing.length > 0 && (isReached || !told))
      logger.warn(
        { subgraphs: details },
        isReached
          ? "some subgraphs cannot be reached"
          : "no subgraph can be reached yet; the gateway listens, and looks again",
      );
    if (isReached || found.length === 0) return true;
    told = true;
    await delay(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
  }
  return false;
}
