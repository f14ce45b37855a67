import { LAUNCH_FRAGMENT, launchFromGraph, launchSchema } from "@toolyard/launch";
import { notFound, parseInput, type Caller } from "@toolyard/service-kit";
import { z } from "zod";
import { decideLaunch, deployToolInput, type DeployDependencies } from "./deploy-tool.ts";

const deployTemplateInput = deployToolInput
  .pick({ configuration: true, environment: true, replicas: true, autoscale: true, balance: true, runtime: true })
  .extend({ name: z.string().nullish() });

const TEMPLATE = `query DeployedTemplate($id: ID!) { template(id: $id) { configSchema launch { ...WholeLaunch } } } ${LAUNCH_FRAGMENT}`;
const TOOL = `mutation ToolOfTemplate($templateId: ID!, $input: FromTemplateInput!) {
  createToolFromTemplate(templateId: $templateId, input: $input) { id }
}`;

const answer = z.object({
  template: z
    .object({
      configSchema: z.unknown(),
      // Read as anybody reads it: in today's notation.
      launch: launchFromGraph.transform((launch) => launchSchema.parse({ ...launch, escapes: true })),
    })
    .nullable(),
});

/**
 * The input of `deployTool` for a tool of the template: the caller's own, or a new one. It is made only once all that can be checked before was.
 * @throws ToolyardError as `deployTemplate` of the schema: FORBIDDEN, NOT_FOUND, BAD_USER_INPUT, PRECONDITION_FAILED
 */
export async function toolOfTemplate(
  dependencies: DeployDependencies,
  caller: Caller,
  { templateId, input: given }: { templateId: string; input: unknown },
  requestId: string,
): Promise<object> {
  const { graph } = dependencies;
  caller.require("deployment:write", { ownerId: caller.userId, toolId: null }, "deploy templates");
  const { name, ...input } = parseInput(deployTemplateInput, given);
  const asCaller = { as: caller, requestId };
  const { template } = answer.parse(await graph.query({ query: TEMPLATE, variables: { id: templateId }, ...asCaller }));
  if (!template) throw notFound("template", templateId);
  await decideLaunch(dependencies, caller, template, input);
  const made = await graph.query<{ createToolFromTemplate: { id: string } }>({
    query: TOOL,
    variables: { templateId, input: { name, reuse: true } },
    ...asCaller,
  });
  return { ...input, toolId: made.createToolFromTemplate.id };
}
