/** The gateway alone: subgraphs over HTTP, at the supergraph's URLs or at SUBGRAPH_URLS. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CALLER_HEADER, createLogger, createTokenSigner, readSecretKey, runProcess } from "@toolyard/service-kit";
import { parseGatewayConfig } from "./config.ts";
import { createHttpClient } from "./execution/http-client.ts";
import { parseSupergraph } from "./execution/supergraph.ts";
import { createGateway } from "./gateway.ts";
import { checkHttp } from "./health.ts";

await runProcess(async (lifetime) => {
  const config = parseGatewayConfig(process.env);
  const logger = createLogger({ level: config.logLevel, name: "gateway" });
  const secretKeys = [config.secretKey ?? (await readSecretKey(config.dataDir)), ...config.previousSecretKeys];
  const [secretKey = "", ...previousSecretKeys] = secretKeys;
  const signer = createTokenSigner({ secretKey, previousSecretKeys });
  const supergraphSdl = await readFile(join(import.meta.dirname, "..", "schema", "supergraph.graphql"), "utf8");
  const urls = { ...Object.fromEntries(parseSupergraph(supergraphSdl).subgraphUrls), ...config.subgraphUrls };
  const clients = Object.entries(urls).map(([name, url]) =>
    createHttpClient({
      name,
      url,
      headersFor: async ({ caller }) => ({ [CALLER_HEADER]: await signer.callerHeader(caller) }),
    }),
  );
  const gateway = createGateway({
    config,
    supergraphSdl,
    clients,
    secretKeys,
    healthChecks: [
      ...Object.entries(urls).map(
        ([name, url]) =>
          () =>
            checkHttp(name, new URL("/health", url).href),
      ),
      () => checkHttp("proxy", new URL("/healthz", config.proxyUrl).href),
    ],
    gauges: async () => ({}),
    logger,
  });
  lifetime.onShutdown("gateway", () => gateway.close());
  const { url } = await gateway.listen();
  logger.info({ url }, "the gateway is ready");
});
