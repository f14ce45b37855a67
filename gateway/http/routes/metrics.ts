import { requireMetricsAccess } from "@toolyard/service-kit/http/metrics-access.ts";
import type { RouteModule } from "../route.ts";

const metrics: RouteModule = ({ authenticate, metrics, metricsToken }) => [
  {
    method: "GET",
    url: "/metrics",
    config: { isQuiet: true },
    async handler(request, reply) {
      const { authorization } = request.headers;
      await requireMetricsAccess({ authorization, metricsToken, authenticate: () => authenticate(request.raw) });
      return reply.header("content-type", metrics.registry.contentType).send(await metrics.report());
    },
  },
];
export default metrics;
