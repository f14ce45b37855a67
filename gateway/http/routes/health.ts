import type { RouteModule } from "../route.ts";

const health: RouteModule = (app, { health, isClosing }) => {
  const config = { isQuiet: true };
  app.get("/health", { config }, async (_request, reply) => {
    const report = await health();
    return reply
      .code(report.status === "unhealthy" ? 503 : 200)
      .header("cache-control", "no-store")
      .send(report);
  });
  app.get("/health/live", { config }, async () => ({ status: "live" }));
  app.get("/health/ready", { config }, async (_request, reply) => {
    const isReady = !isClosing() && (await health()).status !== "unhealthy";
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? "ready" : "not ready" });
  });
};
export default health;
