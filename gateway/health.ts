import { measureHealth, type ServiceHealth, type Subgraph } from "@toolyard/service-kit";

export interface HealthReport {
  status: "healthy" | "degraded" | "unhealthy";
  timestamp: string;
  services: Record<string, { status: ServiceHealth["status"]; response_time_ms: number; detail?: string }>;
  /** What an operator should know though nothing is broken, such as replicas that run unisolated. */
  notes?: string[];
}

/** What must work for the gateway to be of use; all else only degrades it. */
const ESSENTIAL = new Set(["sqlite", "identity"]);

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
    if (!before || rank(service.status) > rank(before.status)) services.set(service.name, service);
  }
  const all = [...services.values()];
  const broken = all.filter(({ status }) => status === "unhealthy");
  const status =
    broken.some(({ name }) => ESSENTIAL.has(name)) || (broken.length > 0 && broken.length === all.length)
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
          response_time_ms: service.responseTimeMs,
          ...(service.detail !== undefined && { detail: service.detail }),
        },
      ]),
    ),
    ...(options.notes?.length && { notes: [...options.notes] }),
  };
}

function rank(status: ServiceHealth["status"]): number {
  return status === "healthy" ? 0 : status === "degraded" ? 1 : 2;
}

/** A subgraph by its name, as ill as the worst of what it rests on, and what it rests on. */
export async function checkSubgraph(subgraph: Pick<Subgraph, "name" | "health">): Promise<ServiceHealth[]> {
  const started = performance.now();
  const parts = await subgraph.health();
  const worst = parts.toSorted((a, b) => rank(b.status) - rank(a.status))[0];
  const self: ServiceHealth = {
    name: subgraph.name,
    status: worst?.status ?? "healthy",
    responseTimeMs: Math.round((performance.now() - started) * 100) / 100,
    ...(worst?.detail !== undefined && { detail: worst.detail }),
  };
  return [self, ...parts];
}

/** Whether an HTTP service answers its health path with 2xx. */
export async function checkHttp(name: string, url: string): Promise<[ServiceHealth]> {
  const service = await measureHealth(name, async () => {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    if (!response.ok) throw new Error(`answered ${response.status}`);
  });
  return [service];
}

/** Whether a subgraph that is not Toolyard's answers GraphQL at all. */
export async function checkGraphql(name: string, url: string): Promise<[ServiceHealth]> {
  const service = await measureHealth(name, async () => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"query":"{ __typename }"}',
      signal: AbortSignal.timeout(2_000),
    });
    await response.arrayBuffer();
    if (response.status >= 500) throw new Error(`answered ${response.status}`);
  });
  return [service];
}
