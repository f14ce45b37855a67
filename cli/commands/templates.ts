import { defineCommand } from "../command.ts";
import { allPages } from "../pages.ts";
import { table } from "../terminal.ts";
import { DEPLOYMENT_FIELDS, type ListedDeployment } from "../tools.ts";
import { DEPLOY_HELP, DEPLOY_USAGE, deployInput, deployOptions, follow } from "./deploy.ts";

interface ListedTemplate {
  id: string;
  name: string;
  description: string;
  version: string | null;
  configSchema: { required?: string[] };
}

const LIST = `query ($search: String, $first: Int, $after: String) {
  templates(search: $search, first: $first, after: $after) {
    edges { node { id name description version configSchema } }
    pageInfo { hasNextPage endCursor }
  }
}`;

export const templates = defineCommand({
  name: "templates",
  summary: "Print the servers that are ready to deploy.",
  usage: "[WORD …] [--json]",
  positionals: [0, 16],
  options: { json: { type: "boolean" } },
  help: "  WORD      Only those whose id, name or description has each of the words.\n  --json    All of it as JSON.",
  async run({ graph, terminal, hint }, { positionals, values }) {
    const found = await allPages<ListedTemplate>(graph, "templates", LIST, { search: positionals.join(" ") });
    if (values.json) {
      terminal.write(`${JSON.stringify(found, null, 2)}\n`);
      return;
    }
    const rows = found.map(({ id, configSchema: { required = [] }, description }) => [
      id,
      required.join(", "),
      description.replaceAll(/\s+/g, " "),
    ]);
    terminal.print(
      found.length === 0
        ? "There is no such template."
        : `${table([["TEMPLATE", "NEEDS", "DESCRIPTION"], ...rows])}\n\nDeploy one: ${hint("deploy-template TEMPLATE")}`,
    );
  },
});

export const deployTemplate = defineCommand({
  name: "deploy-template",
  summary: "Make a tool of a template and run it, and wait until it answers.",
  usage: `TEMPLATE [--name NAME] ${DEPLOY_USAGE}`,
  positionals: [1, 1],
  options: { name: { type: "string" }, ...deployOptions },
  help: `  --name NAME          The tool's; the template's unless given. Your tool of this name and template is used again.
${DEPLOY_HELP}`,
  async run(context, { positionals: [templateId = ""], values }) {
    const { input, seconds } = await deployInput(context, values);
    const { deployTemplate: asked } = await context.graph.query<{
      deployTemplate: ListedDeployment & { tool: { slug: string } | null };
    }>(
      `mutation ($templateId: ID!, $input: DeployTemplateInput!) {
        deployTemplate(templateId: $templateId, input: $input) { ${DEPLOYMENT_FIELDS} tool { slug } }
      }`,
      { templateId, input: { ...input, ...(values.name !== undefined && { name: values.name }) } },
    );
    const { tool, ...deployment } = asked;
    return follow(context, tool?.slug ?? deployment.name, deployment, { ...values, seconds });
  },
});
