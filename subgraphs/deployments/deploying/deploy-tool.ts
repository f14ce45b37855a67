import { BALANCES, DEFAULT_BALANCE } from "@toolyard/routes/balances.ts";
import type { SchemaValidator } from "@toolyard/json-schema";
import { kindOf, RUNTIMES } from "@toolyard/runtimes/registry.ts";
import type { RuntimeKind } from "@toolyard/runtimes/runtime.ts";
import {
  badInput,
  createToolLookup,
  newId,
  notFound,
  parseInput,
  type Caller,
  type GraphClient,
  type Problem,
  type Sealer,
  notInThisVersion,
  type ToolShares,
} from "@toolyard/service-kit";
import {
  currentText,
  mayBeLeftOut,
  missingKeys,
  placeholderKeys,
  writeOnlyInArguments,
  type Configuration,
} from "@toolyard/launch/placeholders.ts";
import { createWriteOnly } from "@toolyard/launch/write-only.ts";
import { z } from "zod";
import { checkConfiguration, publicConfiguration } from "./deployment-configuration.ts";
import { newDeployment, type Deployment } from "../deployment.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import { saveSettled } from "../engine/settle.ts";
import { namesPrivateAddress } from "@toolyard/service-kit/http/remote-addresses.ts";
import type { Launch } from "@toolyard/launch";
import { CANNOT_KEEP_EGRESS, keepsEgress, type OfferedRuntime } from "../hosts/host.ts";
import type { HostAgent } from "../hosts/host-agent.ts";
import type { Placement } from "../hosts/placement.ts";
import { newReplica } from "./new-replica.ts";
import { fetchTool, type ToolSource } from "./tool-source.ts";

const MAX_REPLICAS = 16;

export const replicaCount = z
  .number()
  .int()
  .min(0, "must not be negative")
  .max(MAX_REPLICAS, `must be at most ${MAX_REPLICAS}`);

const autoscaleInput = z
  .object({
    min: replicaCount.default(0),
    max: replicaCount.min(1, "must be 1 or more").default(3),
    targetConcurrentCalls: z.number().int().min(1, "must be 1 or more").max(10_000).default(8),
    idleSeconds: z.number().int().min(1, "must be 1 or more").max(86_400, "must be at most a day").default(300),
  })
  .refine(({ min, max }) => min <= max, { path: ["min"], message: "must not be more than max" });

export const deployToolInput = z.object({
  toolId: z.string().min(1),
  versionNumber: z.number().int().positive("must be 1 or more").nullish(),
  environment: z.enum(["STAGING", "PRODUCTION"]).nullish(),
  replicas: replicaCount.nullish(),
  autoscale: autoscaleInput.nullish(),
  balance: z.enum(BALANCES).nullish(),
  configuration: z.unknown().optional(),
  runtime: z.enum(Object.keys(RUNTIMES).map(kindOf)).nullish(),
  strategy: z.enum(["REPLACE", "CANARY"]).nullish(),
});

export interface DeployDependencies {
  store: DeploymentStore;
  shares: ToolShares;
  graph: GraphClient;
  agent: Pick<HostAgent, "living">;
  placement: Placement;
  sealer: Sealer;
  schemas: SchemaValidator;
  allowPrivateRemotes: boolean;
  now: () => number;
}

/** As in "You may not …". */
export const DEPLOY = "deploy this tool";

/**
 * Writes a new deployment with its replicas, their ports and its first event, or nothing at all.
 * @throws ToolyardError as `deployTool` of the schema: FORBIDDEN, NOT_FOUND, BAD_USER_INPUT, CAPACITY_EXHAUSTED, PRECONDITION_FAILED.
 */
export async function deployTool(
  dependencies: DeployDependencies,
  caller: Caller,
  given: unknown,
  requestId: string,
): Promise<Deployment> {
  const { store, shares, graph, placement, sealer, now } = dependencies;
  caller.require("deployment:write", undefined, "deploy tools");
  const input = parseInput(deployToolInput, given);
  if (input.strategy === "CANARY") throw notInThisVersion("Canary deployments");
  const source = await fetchTool(graph, {
    toolId: await reachedTool(graph, { caller, requestId }, input.toolId),
    versionNumber: input.versionNumber ?? null,
    requestId,
  });
  await shares.require(caller, "deployment:write", source, DEPLOY);
  const { runtime, configuration, desiredReplicas } = await decideLaunch(dependencies, caller, source, input);
  const id = newId();
  const deployment = newDeployment({
    id,
    toolId: source.toolId,
    toolSlug: source.slug,
    toolVersionId: source.versionId,
    versionNumber: source.number,
    ownerId: source.ownerId,
    templateId: source.templateId,
    digest: source.digest,
    environment: input.environment ?? "PRODUCTION",
    runtime,
    launch: source.launch,
    configuration: publicConfiguration(source.configSchema, configuration),
    sealedConfiguration: configuration === null ? null : sealer.seal(JSON.stringify(configuration), id),
    desiredReplicas,
    autoscale: input.autoscale ?? null,
    balance: input.balance ?? DEFAULT_BALANCE,
    deployedById: caller.userId,
    createdAt: now(),
  });
  return placement.reserve(desiredReplicas, deployment, (places) =>
    store.transaction(async (tx) => {
      const role = (await tx.hasActive(deployment.toolId, deployment.environment)) ? "PENDING" : "ACTIVE";
      const inserted: Deployment = { ...deployment, role };
      await tx.insertDeployment(inserted);
      const replicas = [];
      for (const [ordinal, place] of places.entries()) {
        const replica = newReplica({ deployment, ordinal, place });
        await tx.insertReplica(replica);
        replicas.push(replica);
      }
      const { autoscale } = deployment;
      const count = autoscale
        ? `${autoscale.min} to ${autoscale.max} replicas by load`
        : desiredReplicas === 1
          ? "1 replica"
          : `${desiredReplicas} replicas`;
      const message = `${deployment.name} was asked for: version ${source.number} of ${source.slug}, ${count}.`;
      const data = { versionNumber: source.number, replicas: desiredReplicas };
      const record = await saveSettled(tx, { deployment: inserted, replicas }, now(), [
        { kind: "DEPLOYED", message, data, by: caller.subject },
      ]);
      return record.deployment;
    }),
  );
}

/** The tool, which is read as of a service: to a key that is limited to others it is not there. */
async function reachedTool(
  graph: GraphClient,
  requester: { caller: Caller; requestId: string },
  reference: string,
): Promise<string> {
  if (requester.caller.toolIds === null) return reference;
  const id = await createToolLookup({ graph }).idOf(requester, reference);
  if (!requester.caller.reaches(id)) throw notFound("tool", reference);
  return id;
}

/**
 * How a launch would be deployed.
 * @throws ToolyardError where it would not be: FORBIDDEN, BAD_USER_INPUT, PRECONDITION_FAILED
 */
export async function decideLaunch(
  dependencies: Pick<DeployDependencies, "agent" | "allowPrivateRemotes" | "schemas">,
  caller: Caller,
  source: Pick<ToolSource, "launch" | "configSchema">,
  wanted: Pick<z.output<typeof deployToolInput>, "runtime" | "configuration" | "replicas" | "autoscale">,
): Promise<{ runtime: RuntimeKind; configuration: Configuration | null; desiredReplicas: number }> {
  const { launch, configSchema } = source;
  // Of a tool that was registered while this was still taken.
  if (launch.options.enforceApproval) throw notInThisVersion("Launches with enforceApproval");
  if (launch.kind !== "remote") caller.require("process:launch");
  const runtime = await chooseRuntime(dependencies, launch, wanted.runtime ?? null);
  const { schemas } = dependencies;
  const configuration = await checkConfiguration(schemas, configSchema, wanted.configuration, caller.subject);
  checkPlaceholders(source, configuration);
  const { autoscale } = wanted;
  const asked = wanted.replicas ?? 1;
  checkReplicas(runtime, asked, "input.replicas");
  if (autoscale) checkReplicas(runtime, autoscale.max, "input.autoscale.max");
  // It begins with one at least, which shows whether the server works.
  const desiredReplicas = autoscale ? Math.min(autoscale.max, Math.max(autoscale.min, asked, 1)) : asked;
  return { runtime: runtime.kind, configuration, desiredReplicas };
}

/** @throws ToolyardError BAD_USER_INPUT where the runtime takes fewer */
export function checkReplicas(
  runtime: Pick<OfferedRuntime, "maxReplicas"> | undefined,
  count: number,
  path: string,
): void {
  const most = runtime?.maxReplicas;
  if (most && count > most.count) throw badInput([{ path, message: most.why }]);
}

async function chooseRuntime(
  { agent, allowPrivateRemotes }: Pick<DeployDependencies, "agent" | "allowPrivateRemotes">,
  launch: Launch,
  wanted: RuntimeKind | null,
): Promise<OfferedRuntime> {
  if (launch.kind === "remote" && !allowPrivateRemotes && namesPrivateAddress(new URL(launch.url)))
    throw badInput([
      {
        path: "input.launch.remote.url",
        message: "names a private address; the operator must set ALLOW_PRIVATE_REMOTES=true to allow that",
      },
    ]);
  const { kind } = launch;
  const runtimes = (await agent.living()).flatMap(({ offer }) => offer.runtimes);
  const able = runtimes.filter(({ launches }) => launches.includes(kind));
  const chosen = wanted === null ? able : able.filter((one) => one.kind === wanted);
  const runtime = chosen.find((one) => keepsEgress(one, launch));
  if (runtime) return runtime;
  const list = (kinds: readonly OfferedRuntime[]) => [...new Set(kinds.map((each) => each.kind))].join(" or ");
  if (chosen.length > 0)
    throw badInput([{ path: `launch.${kind}.options.egress`, message: `${list(chosen)} ${CANNOT_KEEP_EGRESS}` }]);
  throw badInput([
    able.length > 0
      ? {
          path: "input.runtime",
          message: `${wanted} does not run this launch (${kind}) here: leave the runtime out, or say ${list(able)}`,
        }
      : {
          path: `launch.${kind}`,
          message: `${kind === "image" ? "an image needs MCP_DEPLOYMENT_BACKEND=docker or kubernetes" : "nothing here runs it, and MCP_DEPLOYMENT_BACKEND says what does"}; this Toolyard has ${list(runtimes)}`,
        },
  ]);
}

/** A `${config.key}` without a value would reach the server as it is; a secret must not stand in its command line. */
function checkPlaceholders(
  { launch, configSchema }: Pick<ToolSource, "launch" | "configSchema">,
  configuration: Configuration | null,
): void {
  const texts =
    launch.kind === "remote"
      ? launch.headers.map(({ name, value, secret }) => ({ where: `the header ${name}`, value: secret ? "" : value }))
      : [
          ...launch.args.map((value, index) => ({ where: `argument ${index + 1}`, value })),
          ...launch.env.map(({ name, value, secret }) => ({
            where: `the variable ${name}`,
            value: secret ? "" : value,
          })),
        ];
  const problems: Problem[] = texts.flatMap(({ where, value }) =>
    missingKeys(currentText(launch, value), configuration)
      .filter((key) => !mayBeLeftOut(configSchema, key))
      .map((key) => ({
        path: `input.configuration.${key}`,
        message: `is needed: ${where} of the launch uses it`,
      })),
  );
  const { hides } = createWriteOnly(configSchema);
  const args = launch.kind === "remote" ? [] : launch.args;
  for (const [index, arg] of args.entries())
    for (const key of placeholderKeys(currentText(launch, arg)).filter(hides))
      problems.push({ path: `launch.${launch.kind}.args.${index}`, message: writeOnlyInArguments(key) });
  if (problems.length > 0) throw badInput(problems);
}
