import type { RouteModule } from "../route.ts";

/** The keys by which access tokens are verified, where any are issued. */
const jwks: RouteModule = (app, { jwks }) => {
  if (jwks === null) return;
  app.get("/.well-known/jwks.json", { config: { isQuiet: true } }, async (_request, reply) =>
    reply.header("cache-control", "public, max-age=300").send(await jwks()),
  );
};
export default jwks;
