import type { Deployment, Environment, Replica } from "./deployment.ts";
import { mcpPathOf } from "./deploying/deployed-launch.ts";

/** Where things are called: public URLs through the proxy, and replicas' own. */
export interface DeploymentUrls {
  endpointUrl(deployment: Deployment): string;
  routeUrl(deployment: Deployment): string;
  mcpUrl(deployment: Deployment): string;
  /** Null while it is not started. A socket of the file system has no path behind it. */
  replicaUrl(deployment: Deployment, replica: Replica): string | null;
}

/** `proxyUrl` is the base of public URLs, without a slash at its end. */
export function createDeploymentUrls(proxyUrl: string): DeploymentUrls {
  const routeUrl = ({ toolSlug, environment }: { toolSlug: string; environment: Environment }): string =>
    `${proxyUrl}/mcp/${toolSlug}${environment === "STAGING" ? "@staging" : ""}/v1`;
  return {
    endpointUrl: ({ toolSlug, name }) => `${proxyUrl}/mcp/${toolSlug}@${name}/v1`,
    routeUrl,
    mcpUrl: (deployment) => `${routeUrl(deployment)}${mcpPathOf(deployment.launch)}`,
    replicaUrl({ launch }, replica) {
      if (launch.kind === "remote") return launch.url.replace(/\?.*/s, "?…");
      const url = replica.handle?.endpoint?.url ?? "";
      if (url === "") return null;
      return url.startsWith("unix:") ? url : `${url}${mcpPathOf(launch)}`;
    },
  };
}
