import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { newId, systemCodeOf } from "@toolyard/service-kit";
import type { DeploymentsConfig } from "./config.ts";
import type { DeploymentStore } from "./store/deployment-store.ts";

/**
 * This host's name among those that share the store: HOST_ID, or one that is made at the first start and kept in DATA_DIR. Where a database that is no
 * other's came here without it, it is the one that its replicas have: they would be nobody's else.
 * @param isShared Whether other hosts may use the store.
 */
export async function resolveHostId(
  config: Pick<DeploymentsConfig, "hostId">,
  dataDir: string,
  store: Pick<DeploymentStore, "hostIds">,
  isShared: boolean,
): Promise<string> {
  if (config.hostId !== null) return config.hostId;
  const file = join(dataDir, "host-id");
  await mkdir(dataDir, { recursive: true });
  try {
    // The first process writes it; a second one at the same time reads it.
    const [known, ...others] = isShared ? [] : await store.hostIds();
    const hostId = known !== undefined && others.length === 0 ? known : newId();
    await writeFile(file, `${hostId}\n`, { flag: "wx", mode: 0o600 });
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw error;
  }
  return (await readFile(file, "utf8")).trim();
}
