import type { RestRoute } from "../rest-route.ts";

const TAG = "Templates";
const PATH = "/api/templates";

export const templateRoutes: readonly RestRoute[] = [
  {
    method: "GET",
    path: `${PATH}/`,
    tag: TAG,
    summary: "List templates, by their ids",
    operation: `query Templates($first: Int, $offset: Int, $search: String) {
      templates(first: $first, offset: $offset, search: $search) { edges { node { ...Template } } totalCount }
    }`,
    status: 200,
    noun: "template",
  },
  {
    method: "GET",
    path: `${PATH}/{template_id}/`,
    tag: TAG,
    summary: "Get a template",
    operation: "query Template($templateId: ID!) { template(id: $templateId) { ...Template } }",
    status: 200,
    noun: "template",
  },
  {
    method: "POST",
    path: `${PATH}/import/`,
    tag: TAG,
    summary: "Make a template of a server of the official MCP registry",
    operation: "mutation ImportServer($json: JSON!) { importServer(json: $json) { ...Template } }",
    status: 201,
    noun: "template",
    location: `${PATH}/{id}/`,
  },
  {
    method: "DELETE",
    path: `${PATH}/{template_id}/`,
    tag: TAG,
    summary: "Delete an imported template",
    operation: "mutation DeleteTemplate($templateId: ID!) { deleteTemplate(id: $templateId) { id } }",
    status: 204,
    noun: "template",
  },
  {
    method: "POST",
    path: `${PATH}/deploy/{template_id}/`,
    tag: TAG,
    summary: "Deploy a template",
    operation:
      "mutation DeployTemplate($templateId: ID!, $input: DeployTemplateInput!) { deployTemplate(templateId: $templateId, input: $input) { ...Deployment } }",
    status: 201,
    noun: "template",
    location: `${PATH}/deployments/{name}/`,
  },
  {
    method: "GET",
    path: `${PATH}/deployments/`,
    tag: TAG,
    summary: "List the deployments of templates, newest first",
    operation: `query TemplateDeployments($first: Int, $offset: Int, $templateId: ID) {
      deployments(first: $first, offset: $offset, templateId: $templateId, ofTemplate: true) { edges { node { ...Deployment } } totalCount }
    }`,
    status: 200,
    noun: "deployment",
  },
  {
    method: "GET",
    path: `${PATH}/deployments/{name}/`,
    tag: TAG,
    summary: "Get a deployment of a template",
    operation:
      "query TemplateDeployment($name: String!) { deployment(name: $name, ofTemplate: true) { ...Deployment } }",
    status: 200,
    noun: "deployment",
  },
  {
    method: "DELETE",
    path: `${PATH}/deployments/{name}/delete/`,
    tag: TAG,
    summary: "Stop a deployment of a template",
    operation:
      "mutation StopTemplateDeployment($name: String!) { stopDeployment(name: $name, ofTemplate: true) { id } }",
    status: 204,
    noun: "deployment",
  },
];
