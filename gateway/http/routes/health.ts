import { z } from "zod";
import { healthReport } from "../../observability/health.ts";
import { inJson, refusalsOf, type PathDescriber } from "../../rest/openapi.ts";
import type { RouteModule } from "../route.ts";

const live = z.object({ status: z.literal("live") });
const ready = z.object({ status: z.enum(["ready", "not ready"]) });

const health: RouteModule = (app, { health, isClosing }) => {
  const config = { isQuiet: true };
  app.get("/health", { config }, async (_request, reply) => {
    const report = await health();
    return reply.code(report.status === "unhealthy" ? 503 : 200).send(report);
  });
  app.get("/health/live", { config }, async (): Promise<z.infer<typeof live>> => ({ status: "live" }));
  app.get("/health/ready", { config }, async (_request, reply) => {
    const isReady = !isClosing() && (await health()).status !== "unhealthy";
    const answer: z.infer<typeof ready> = { status: isReady ? "ready" : "not ready" };
    return reply.code(isReady ? 200 : 503).send(answer);
  });
};
export default health;

export const openApi: PathDescriber = () => {
  const operation = (operationId: string, summary: string, answer: z.ZodType, statuses: Record<number, string>) => {
    const { $schema: _dialect, ...schema } = z.toJSONSchema(answer);
    const content = inJson(schema);
    return {
      get: {
        tags: ["Operating"],
        summary,
        operationId,
        security: [{}],
        parameters: [],
        responses: {
          ...Object.fromEntries(
            Object.entries(statuses).map(([status, description]) => [status, { description, content }]),
          ),
          ...refusalsOf(["FORBIDDEN", "INTERNAL_SERVER_ERROR"]),
        },
      },
    };
  };
  return {
    "/health": operation("Health", "Get the health of all parts", healthReport, {
      200: "Healthy, or degraded: what is essential works.",
      503: "Something essential does not work.",
    }),
    "/health/live": operation("Liveness", "Ask whether the gateway runs", live, { 200: "It runs." }),
    "/health/ready": operation("Readiness", "Ask whether requests may be sent here", ready, {
      200: "They may.",
      503: "It is ending, or something essential does not work.",
    }),
  };
};
