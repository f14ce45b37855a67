/** The sidecar: sends `/mcp/{slug}/v1/{path}` to a healthy replica. */
import { join } from "node:path";
import { createLogger, logLifetime, prepareDataDir, requirePort, runProcess } from "@toolyard/service-kit";
import { createRequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { inheritSocket } from "@toolyard/service-kit/process/listening-socket.ts";
import { followSupervisor } from "@toolyard/service-kit/process/supervision.ts";
import { lockFolder } from "@toolyard/storage/folder-lock.ts";
import { parseProxyConfig } from "./config.ts";
import { createProxy } from "./proxy.ts";

/** The time for running calls when the parent is gone: its replicas are going, too. */
const ORPHAN_DRAIN_MS = 2_000;

await runProcess(async (lifetime) => {
  const config = parseProxyConfig(process.env);
  const logger = createLogger({ level: config.logLevel, name: "proxy" });
  logLifetime(lifetime, logger, process.env);
  inheritSocket(process.env);
  await requirePort("PROXY_PORT", config.host, config.port);
  await prepareDataDir(config.dataDir, logger);
  // Its routes and unsent usage lie there.
  const lock = await lockFolder(join(config.dataDir, "proxy"));
  lifetime.onShutdown("the folder's lock", () => lock.release());
  lifetime.drainFor(config.drainMs);
  const supervision = followSupervisor(lifetime);
  const requestLog = createRequestLog({ enabled: config.logRequests, level: config.logLevel, name: "proxy" });
  const proxy = await createProxy({ config, logger, requestLog, draining: lifetime.draining });
  lifetime.onShutdown("the proxy", () => proxy.close(supervision.isOrphaned ? { drainMs: ORPHAN_DRAIN_MS } : {}));
  const { url } = await proxy.listen();
  supervision.ready();
  logger.info({ url }, "listening");
});
