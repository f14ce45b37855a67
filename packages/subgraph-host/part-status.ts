import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ToolyardError, problemDetails } from "@toolyard/service-kit/errors/errors.ts";
import { createGaugeReport } from "@toolyard/service-kit/graph/gauge-report.ts";
import type { Gauge, ServiceHealth } from "@toolyard/service-kit/graph/subgraph.ts";
import { createCrossSitePolicy } from "@toolyard/service-kit/http/cross-site.ts";
import { createHostPolicy } from "@toolyard/service-kit/http/hosts.ts";
import { requireMetricsAccess } from "@toolyard/service-kit/http/metrics-access.ts";
import { requestIdOf } from "@toolyard/service-kit/http/request-id.ts";
import { whereToListen } from "@toolyard/service-kit/process/listening-socket.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { createMetrics } from "@toolyard/service-kit/process/metrics.ts";

/** What a part that runs alone says of itself. */
export interface PartStatus {
  health: () => Promise<ServiceHealth[]>;
  gauges: () => Promise<Gauge[]>;
  /** The bearer token for /metrics; null: nobody may read it. */
  metricsToken: string | null;
  /** Aborts when the part is to be left alone. */
  draining: AbortSignal;
}

export function createPartStatus({ health, gauges, metricsToken, draining }: PartStatus) {
  const { registry } = createMetrics();
  const report = createGaugeReport({ registry, read: () => [gauges()] });
  const isHealthy = (services: readonly ServiceHealth[]) => services.every(({ status }) => status !== "unhealthy");
  return {
    async sendHealth(response: ServerResponse): Promise<void> {
      const services = await health();
      const healthy = isHealthy(services);
      send(response, healthy ? 200 : 503, {
        status: healthy ? "healthy" : "unhealthy",
        // By this host's own clock: whoever asks compares it.
        timestamp: new Date().toISOString(),
        services,
      });
    },
    /** As the gateway's: that it runs, whatever is away. */
    sendLiveness: (response: ServerResponse): void => send(response, 200, { status: "live" }),
    /** As the gateway's: whether it may be asked. */
    async sendReadiness(response: ServerResponse): Promise<void> {
      const isReady = !draining.aborted && isHealthy(await health());
      send(response, isReady ? 200 : 503, { status: isReady ? "ready" : "not ready" });
    },
    /** @throws ToolyardError UNAUTHENTICATED */
    async sendMetrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
      await requireMetricsAccess({
        authorization: request.headers.authorization,
        metricsToken,
        authenticate() {
          const message = "A part that runs alone shows its metrics to holders of METRICS_TOKEN only.";
          throw new ToolyardError("UNAUTHENTICATED", message);
        },
      });
      sendText(response, 200, await report(), registry.contentType);
    },
  };
}

/** A part that answers nothing but `GET /health`, `/health/live`, `/health/ready` and `/metrics`. */
export async function servePartStatus(
  options: PartStatus & { host: string; port: number; allowedHosts: readonly string[]; logger: Logger },
): Promise<{ url: string; close(): Promise<void> }> {
  const { host, port, allowedHosts, logger } = options;
  const crossSite = createCrossSitePolicy(createHostPolicy({ listenHost: host, origins: [], hosts: allowedHosts }));
  const status = createPartStatus(options);
  const server = createServer((request, response) => void answer(request, response));

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = requestIdOf(request);
    const path = (request.url ?? "/").split("?", 1)[0];
    try {
      crossSite.check(request);
      if (request.method === "GET" && path === "/health") return await status.sendHealth(response);
      if (request.method === "GET" && path === "/health/live") return status.sendLiveness(response);
      if (request.method === "GET" && path === "/health/ready") return await status.sendReadiness(response);
      if (request.method === "GET" && path === "/metrics") return await status.sendMetrics(request, response);
      throw new ToolyardError(
        "NOT_FOUND",
        "There is GET /health, GET /health/live, GET /health/ready and GET /metrics here.",
      );
    } catch (error) {
      const problem = problemDetails(error, requestId);
      if (problem.status >= 500) logger.error({ err: error, request_id: requestId }, "a request failed");
      send(response, problem.status, problem, "application/problem+json");
    }
  }

  return {
    url: await listenOn(server, host, port),
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

/** @returns the URL at which it listens */
export async function listenOn(server: ReturnType<typeof createServer>, host: string, port: number): Promise<string> {
  await new Promise<void>((resolve, reject) =>
    server.once("error", reject).listen(whereToListen({ host, port }), resolve),
  );
  // A TCP server's address is never a pipe's string.
  const address = server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}

export function send(response: ServerResponse, status: number, body: unknown, type = "application/json"): void {
  sendText(response, status, JSON.stringify(body), type);
}

function sendText(response: ServerResponse, status: number, text: string, type: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(text) });
  response.end(text);
}
