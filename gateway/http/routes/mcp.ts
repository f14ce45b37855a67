import { createPassage } from "../passage.ts";
import type { RouteModule } from "../route.ts";

/** Calls of tools, which the proxy answers: so that one address is enough. */
const mcp: RouteModule = (app, { proxy, config, contextOf, stalledMs }) => {
  if (!proxy) return;
  const { publicUrl } = config;
  const passage = createPassage({ proxy, publicUrl, contextOf, ...(stalledMs !== undefined && { stalledMs }) });
  app.direct({ url: "/mcp/*", isPassedOn: true, handle: passage.pass });
  app.addHook("preClose", async () => passage.drain());
  app.addHook("onClose", () => passage.close());
};
export default mcp;
