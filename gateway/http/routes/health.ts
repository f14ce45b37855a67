import type { RouteModule } from "../route.ts";

const health: RouteModule = ({ health, isClosing }) => [
  {
    method: "GET",
    url: "/health",
    config: { isQuiet: true },
    async handler(_request, reply) {
      const report = await health();
      return reply
        .code(report.status === "unhealthy" ? 503 : 200)
        .header("cache-control", "no-store")
        .send(report);
    },
  },
  { method: "GET", url: "/health/live", config: { isQuiet: true }, handler: async () => ({ status: "live" }) },
  {
    method: "GET",
    url: "/health/ready",
    config: { isQuiet: true },
    async handler(_request, reply) {
      const isReady = !isClosing() && (await health()).status !== "unhealthy";
      return reply.code(isReady ? 200 : 503).send({ status: isReady ? "ready" : "not ready" });
    },
  },
];
export default health;
