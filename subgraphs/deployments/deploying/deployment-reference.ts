import { badInput, closeTo, isId, MAX_CANDIDATES, mayBeName, notFound, type Caller } from "@toolyard/service-kit";
import type { Deployment } from "../deployment.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";

/** By one of the two. Either may be the slug of the deployment's tool. */
export interface DeploymentReference {
  id?: string | null | undefined;
  name?: string | null | undefined;
  /** Only if its tool was made of a template: all others are as if they were not there. */
  ofTemplate?: boolean | null | undefined;
}

type Lookup = Pick<DeploymentStore, "find" | "findByName" | "ofSlug" | "newestNames">;

/**
 * The deployment with this id, or else this name, or else the one of the tool with this slug: that which is to run, or ran last.
 * @throws ToolyardError BAD_USER_INPUT unless one of the two is given, and where the tool is to run in several environments
 */
export async function findDeployment(
  store: Lookup,
  which: DeploymentReference,
  caller: Caller,
): Promise<Deployment | null> {
  const found = await named(reachedBy(caller, store), which);
  return which.ofTemplate && found?.templateId === null ? null : found;
}

/** To a key that is limited to tools, deployments of others are not there, and no names are close. */
function reachedBy(caller: Caller, store: Lookup): Lookup {
  if (caller.toolIds === null) return store;
  const reached = (found: Deployment | null) => (found && caller.reaches(found.toolId) ? found : null);
  return {
    find: async (id) => reached(await store.find(id)),
    findByName: async (name) => reached(await store.findByName(name)),
    ofSlug: async (slug) => (await store.ofSlug(slug)).filter(reached),
    newestNames: async () => [],
  };
}

async function named(store: Lookup, which: DeploymentReference): Promise<Deployment | null> {
  const reference = referenceOf(which);
  if (which.id != null) {
    const byId = await store.find(reference);
    if (byId) return byId;
  }
  if (!mayBeName(reference)) return null;
  return (await store.findByName(reference)) ?? theOneOf(reference, await store.ofSlug(reference));
}

/** Suggestions for a reference that names no deployment. */
export async function closeDeployments(store: Lookup, which: DeploymentReference, caller: Caller): Promise<string[]> {
  if (which.ofTemplate) return [];
  return closeTo(referenceOf(which), async () => {
    const named = await reachedBy(caller, store).newestNames(MAX_CANDIDATES);
    // Slugs first: they are what people remember.
    return [...named.map(({ toolSlug }) => toolSlug), ...named.map(({ name }) => name)];
  });
}

/** As `findDeployment`. @throws ToolyardError NOT_FOUND, with what is close */
export async function requireDeployment(
  store: Lookup,
  which: DeploymentReference,
  caller: Caller,
): Promise<Deployment> {
  const deployment = await findDeployment(store, which, caller);
  if (!deployment) throw notFound("deployment", referenceOf(which), await closeDeployments(store, which, caller));
  return deployment;
}

/** The id for an id, which may be unknown, a name or a slug; undefined where nothing is named. @throws ToolyardError NOT_FOUND */
export async function deploymentIdOf(
  store: Lookup,
  reference: string | null | undefined,
  caller: Caller,
): Promise<string | undefined> {
  if (reference == null || isId(reference)) return reference ?? undefined;
  return (await requireDeployment(store, { id: reference }, caller)).id;
}

function referenceOf({ id, name }: DeploymentReference): string {
  if ((id == null) === (name == null))
    throw badInput([{ path: "", message: "give either the id or the name of a deployment" }]);
  return id ?? name ?? "";
}

/** @param inPlace Those of a tool, of different environments. */
function theOneOf(slug: string, inPlace: readonly Deployment[]): Deployment | null {
  if (inPlace.length < 2) return inPlace[0] ?? null;
  const names = inPlace.map(({ name, environment }) => `${JSON.stringify(name)} (${environment})`).join(", ");
  throw badInput([
    { path: "", message: `${JSON.stringify(slug)} is deployed in several environments: name one of ${names}` },
  ]);
}
