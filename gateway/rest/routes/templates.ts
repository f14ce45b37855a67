import type { RestRoute } from "../rest-route.ts";

const TAG = "Templates";
const PATH = "/api/templates";

export const templateRoutes: readonly RestRoute[] = [
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
    path: `${PATH}/deployments/{name}/`,
    tag: TAG,
    summary: "Get a deployment of a template",
    operation: "query TemplateDeployment($name: String!) { deployment(name: $name) { ...Deployment } }",
    status: 200,
    noun: "deployment",
  },
  {
    method: "DELETE",
    path: `${PATH}/deployments/{name}/delete/`,
    tag: TAG,
    summary: "Stop a deployment of a template",
    operation: "mutation StopTemplateDeployment($name: String!) { stopDeployment(name: $name) { id } }",
    status: 204,
    noun: "deployment",
  },
];
