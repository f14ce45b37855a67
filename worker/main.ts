/**
 * Runs the tasks and the scheduled jobs of all subgraphs but deployments, whose process is the agent of its host and does its own. It serves
 * nothing but its health and metrics; any number of workers share the work by leases.
 */
import { runProcess } from "@toolyard/service-kit";
import { parseTogether, type Environment } from "@toolyard/service-kit/process/config.ts";
import type { ProcessConfig } from "@toolyard/service-kit/process/process-config.ts";
import { openPart } from "@toolyard/subgraph-host/part.ts";
import { servePartStatus } from "@toolyard/subgraph-host/part-status.ts";
import { createAnalysisSubgraph } from "@toolyard/subgraph-analysis";
import { parseAnalysisConfig } from "@toolyard/subgraph-analysis/config.ts";
import { createIdentitySubgraph } from "@toolyard/subgraph-identity";
import { parseIdentityConfig } from "@toolyard/subgraph-identity/config.ts";
import { createKnowledgeSubgraph } from "@toolyard/subgraph-knowledge";
import { createToolsSubgraph } from "@toolyard/subgraph-tools";
import { parseToolsConfig } from "@toolyard/subgraph-tools/config.ts";

const DEFAULT_PORT = 4006;

await runProcess(async (lifetime) => {
  const wanted = { name: "worker", defaultPort: DEFAULT_PORT, env: process.env, parseConfig };
  const part = await openPart(wanted, lifetime);
  const { config: configs, ...shared } = { ...part.options, runsTasks: true };
  const subgraphs = [
    await createIdentitySubgraph({ ...shared, config: configs.identity }),
    await createToolsSubgraph({ ...shared, config: configs.tools }),
    await createKnowledgeSubgraph(shared),
    await createAnalysisSubgraph({ ...shared, config: configs.analysis }),
  ];
  lifetime.onShutdown("the subgraphs", async () => {
    for (const subgraph of subgraphs.toReversed()) await subgraph.close();
  });
  const { host, allowedHosts, metricsToken } = part.process;
  const server = await servePartStatus({
    host,
    port: part.port,
    allowedHosts,
    metricsToken,
    draining: lifetime.draining,
    logger: shared.logger,
    health: async () => (await Promise.all([...subgraphs, part].map((each) => each.health()))).flat(),
    gauges: async () => [
      ...(await Promise.all(subgraphs.map(async (each) => (await each.gauges?.()) ?? []))).flat(),
      ...(await part.gauges()),
    ],
  });
  lifetime.onShutdown("HTTP server", () => server.close());
  for (const subgraph of subgraphs) await subgraph.start();
  part.supervision.ready();
  shared.logger.info({ url: server.url }, "the worker is ready");
});

function parseConfig(env: Environment, options: { process: ProcessConfig }) {
  const [identity, tools, analysis] = parseTogether(
    () => parseIdentityConfig(env, options),
    () => parseToolsConfig(env),
    () => parseAnalysisConfig(env),
  );
  return { identity, tools, analysis };
}
