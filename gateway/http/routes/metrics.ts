import { requireMetricsAccess } from "@toolyard/service-kit/http/metrics-access.ts";
import type { RouteModule } from "../route.ts";

const metrics: RouteModule = (app, { authenticate, metrics, config }) => {
  const { metricsToken } = config;
  app.get("/metrics", { config: { isQuiet: true } }, async (request, reply) => {
    const { authorization } = request.headers;
    await requireMetricsAccess({ authorization, metricsToken, authenticate: () => authenticate(request.raw) });
    return reply.header("content-type", metrics.registry.contentType).send(await metrics.report());
  });
};
export default metrics;
