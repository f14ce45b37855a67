import { launchSchema } from "@toolyard/launch";
import { newId } from "@toolyard/service-kit";
import { newDeployment, type Deployment } from "./deployment.ts";

/** A deployment that was just asked for, of a tool of its own unless `more` says which. */
export function deploymentOf(more: Partial<Deployment> = {}): Deployment {
  const id = newId();
  const asked = newDeployment({
    id,
    toolId: `tool-${id}`,
    toolSlug: `slug-${id}`,
    toolVersionId: "v",
    versionNumber: 1,
    ownerId: null,
    templateId: null,
    digest: "d",
    environment: "PRODUCTION",
    runtime: "MOCK",
    launch: launchSchema.parse({ kind: "stdio", command: "server" }),
    configuration: null,
    sealedConfiguration: null,
    desiredReplicas: 1,
    autoscale: null,
    balance: "LEAST_OUTSTANDING",
    deployedById: null,
    createdAt: 0,
    ...more,
  });
  return { ...asked, ...more };
}
