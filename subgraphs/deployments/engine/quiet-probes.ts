import type { Logger } from "@toolyard/service-kit";
import type { DeploymentStore, QuietProbe } from "../store/deployment-store.ts";

/** Gathers probes that found their replicas unchanged, so that many are one write; nobody has been told of them yet. */
export interface QuietProbes {
  note(probe: QuietProbe): void;
  /** Writes the gathered probes. */
  flush(): Promise<void>;
}

const GATHERED_FOR_MS = 1_000;
/** Probes of one write. */
const MOST = 500;

export function createQuietProbes(options: {
  store: Pick<DeploymentStore, "recordQuietProbes">;
  logger: Logger;
}): QuietProbes {
  const { store, logger } = options;
  let gathered: QuietProbe[] = [];
  let timer: NodeJS.Timeout | null = null;
  let writing: Promise<void> = Promise.resolve();

  async function write(probes: readonly QuietProbe[]): Promise<void> {
    try {
      await store.recordQuietProbes(probes);
    } catch (error) {
      logger.error({ err: error, probes: probes.length }, "health checks could not be written, and are lost");
    }
  }

  function flush(): Promise<void> {
    if (timer) clearTimeout(timer);
    timer = null;
    const probes = gathered;
    gathered = [];
    if (probes.length > 0) writing = writing.then(() => write(probes));
    return writing;
  }

  return {
    note(probe) {
      gathered.push(probe);
      if (gathered.length >= MOST) void flush();
      else timer ??= setTimeout(() => void flush(), GATHERED_FOR_MS).unref();
    },
    flush,
  };
}
