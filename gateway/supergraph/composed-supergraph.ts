import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { ToolyardError, messageOf, systemCodeOf, type Environment, type Logger } from "@toolyard/service-kit";
import { composeApart } from "@toolyard/schema/composer.ts";
import { describeProblem, describeProblems, type CompositionProblem } from "@toolyard/schema/composition-problem.ts";
import type { SubgraphSdl } from "@toolyard/schema/composition.ts";
import { readSubgraph, readSubgraphs } from "@toolyard/schema/subgraph-schemas.ts";
import {
  parseSupergraphConfig,
  type ConfiguredSubgraph,
  type SupergraphConfig,
} from "@toolyard/schema/supergraph-config.ts";
import { SETTLE_MS, createFileWatch } from "./file-watch.ts";
import { createDebouncedWork } from "./debounced-work.ts";
import { awaitSubgraph, createSubgraphPolling } from "./subgraph-polling.ts";
import type { SupergraphSource } from "./supergraph-source.ts";

export interface ComposedSupergraphOptions {
  /** rover's supergraph.yaml. */
  file: string;
  /** The values of `${env.…}` in it. */
  env: Environment;
  log: Pick<Logger, "info" | "warn" | "error">;
  /** How often running subgraphs are asked for their schemas. */
  pollIntervalMs: number;
}

/** A composition that failed, with each problem by itself for the log. */
class CompositionError extends ToolyardError {
  readonly problems: readonly CompositionProblem[];
  constructor(file: string, problems: readonly CompositionProblem[]) {
    super("BAD_USER_INPUT", `The subgraphs of ${file} do not compose:\n${describeProblems(problems)}`);
    this.problems = problems;
  }
}

/** A supergraph composed here of subgraphs' schemas, anew when one of them, or the list of them, has changed. */
export function createComposedSupergraph(options: ComposedSupergraphOptions): SupergraphSource {
  const { file, env, log, pollIntervalMs } = options;
  /** The latest schemas of running subgraphs, by their configuration. */
  const introspected = new Map<string, SubgraphSdl>();
  let config: SupergraphConfig = { federationVersion: null, subgraphs: [] };
  let inService = "";

  async function readConfig(): Promise<SupergraphConfig> {
    let yaml: string;
    try {
      yaml = await readFile(file, "utf8");
    } catch (cause) {
      const why = systemCodeOf(cause) === "ENOENT" ? "there is no such file" : messageOf(cause);
      throw new ToolyardError("NOT_FOUND", `${file} cannot be read: ${why}.`, { cause });
    }
    return parseSupergraphConfig(yaml, { file, env });
  }

  /** Composes the configured supergraph. `running` has the schemas of subgraphs that are asked for them. */
  async function compose(
    { subgraphs }: SupergraphConfig,
    running: (subgraphs: readonly ConfiguredSubgraph[]) => Promise<readonly SubgraphSdl[]>,
    signal: AbortSignal,
  ): Promise<string> {
    // Faults of files are reported before any wait.
    const local = await readSubgraphs(
      subgraphs.filter((subgraph) => !isIntrospected(subgraph)),
      signal,
    );
    const remote = await running(subgraphs.filter(isIntrospected));
    const composition = await composeApart([...local, ...remote], { signal });
    if ("errors" in composition) throw new CompositionError(file, composition.errors);
    log.info({ file, subgraphs: subgraphs.length, hints: composition.hints.length }, "the subgraphs are composed");
    return composition.supergraphSdl;
  }

  /** A subgraph's latest schema; a new subgraph is asked now. */
  async function known(subgraph: ConfiguredSubgraph, signal: AbortSignal): Promise<SubgraphSdl> {
    const found = introspected.get(keyOf(subgraph)) ?? (await readSubgraph(subgraph, signal));
    introspected.set(keyOf(subgraph), found);
    return found;
  }

  function refuse(error: unknown): void {
    const reasons =
      error instanceof CompositionError ? error.problems.map(describeProblem) : messageOf(error).split("\n");
    log.error({ file, reasons }, "the changed subgraphs are refused; the previous supergraph stays in service");
  }

  return {
    async load(signal) {
      config = await readConfig();
      warnOfVersion(config, log);
      const waited = (subgraphs: readonly ConfiguredSubgraph[]) =>
        Promise.all(
          subgraphs.map(async (subgraph) => {
            const found = await awaitSubgraph(subgraph, { signal, log });
            introspected.set(keyOf(subgraph), found);
            return found;
          }),
        );
      inService = await compose(config, waited, signal);
      return inService;
    },

    watch(onChange) {
      const files = createFileWatch({ onChange: () => reload.request() });
      const polling = createSubgraphPolling({
        intervalMs: pollIntervalMs,
        log,
        onSchema(schema) {
          const subgraph = config.subgraphs.find(({ name }) => name === schema.name);
          if (!subgraph || introspected.get(keyOf(subgraph))?.sdl === schema.sdl) return;
          introspected.set(keyOf(subgraph), schema);
          reload.request();
        },
      });
      /** Unusable files are watched as well: they are the ones that will be mended. */
      const follow = () => {
        files.follow([
          file,
          ...config.subgraphs.flatMap(({ schema }) => (schema.kind === "file" ? [schema.path] : [])),
        ]);
        polling.follow(config.subgraphs.filter(isIntrospected));
        const keys = new Set(config.subgraphs.map(keyOf));
        for (const key of introspected.keys()) if (!keys.has(key)) introspected.delete(key);
      };
      const reload = createDebouncedWork({
        settleMs: SETTLE_MS,
        async work(signal) {
          try {
            config = await readConfig();
            follow();
            const running = (subgraphs: readonly ConfiguredSubgraph[]) =>
              Promise.all(subgraphs.map((subgraph) => known(subgraph, signal)));
            const composed = await compose(config, running, signal);
            if (composed === inService) return;
            await onChange(composed);
            inService = composed;
            log.info({ file }, "the supergraph has changed and is in service");
          } catch (error) {
            if (!signal.aborted) refuse(error);
          }
        },
      });
      follow();
      return {
        async close() {
          files.close();
          await polling.close();
          await reload.close();
        },
      };
    },
  };
}

function isIntrospected({ schema }: ConfiguredSubgraph): boolean {
  return schema.kind === "introspection";
}

/** A subgraph whose configuration has changed counts as another one. */
function keyOf(subgraph: ConfiguredSubgraph): string {
  return JSON.stringify(subgraph);
}

/** A pinned version is how rover picks the composition it downloads; here there is one. */
function warnOfVersion({ federationVersion }: SupergraphConfig, log: Pick<Logger, "warn">): void {
  const pinned = /^=v?(.+)$/.exec(federationVersion ?? "")?.[1];
  // Its package.json, and not the package: that is loaded where it composes only.
  const { version } = createRequire(import.meta.url)("@apollo/composition/package.json") as { version: string }; // npm's own shape
  if (pinned === undefined || pinned === version) return;
  log.warn({ pinned, used: version }, "federation_version pins a version of composition that is not the one installed");
}
