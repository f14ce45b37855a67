import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { buildSchema, getNamedType, isInputObjectType } from "graphql";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

/**
 * Every place of the graph that takes an id, and an operation whose answer shows what was meant there; null where there is nothing that
 * has a name. `$it` is a tool by slug, a deployment by name or by slug, a user by username, an API key by name.
 */
const PLACES: Record<string, string | null> = {
  "Query.tool.id": "query ($it: ID!) { tool(id: $it) { slug } }",
  "Query.deployment.id": "query ($it: ID!) { deployment(id: $it) { tool { slug } } }",
  "Query.deployments.toolId": "query ($it: ID!) { deployments(toolId: $it) { edges { node { tool { slug } } } } }",
  "Query.usageRecords.toolId": "query ($it: ID!) { usageRecords(toolId: $it) { totalCount } }",
  "Query.usageRecords.deploymentId": "query ($it: ID!) { usageRecords(deploymentId: $it) { totalCount } }",
  "Query.user.id": "query ($it: ID!) { user(id: $it) { username } }",
  "Query.documents.toolId": "query ($it: ID!) { documents(toolId: $it) { edges { node { tool { slug } } } } }",
  "Query.searchDocuments.toolId":
    'query ($it: ID!) { searchDocuments(query: "greetings", toolId: $it) { edges { node { document { tool { slug } } } } } }',
  "Query.tasks.toolId": "query ($it: ID!) { tasks(toolId: $it) { edges { node { tool { slug } } } } }",
  "Mutation.suggestImprovements.toolId":
    "mutation ($it: ID!) { suggestImprovements(toolId: $it) { tool { slug } toolId } }",
  "FeasibilityInput.toolId":
    "mutation ($it: ID!) { analyzeFeasibility(input: { toolId: $it }) { tool { slug } toolId } }",
  "GenerateConfigInput.toolId":
    "mutation ($it: ID!) { generateConfig(input: { toolId: $it }) { tool { slug } toolId } }",
  "UploadDocumentInput.toolId":
    'mutation ($it: ID!) { uploadDocument(input: { title: "Two", content: "two", toolId: $it }) { tool { slug } } }',
  "Mutation.updateTool.id": 'mutation ($it: ID!) { updateTool(id: $it, input: { description: "New" }) { slug } }',
  "Mutation.revertTool.id": "mutation ($it: ID!) { revertTool(id: $it, versionNumber: 1) { slug } }",
  "Mutation.scaleDeployment.id": "mutation ($it: ID!) { scaleDeployment(id: $it, replicas: 1) { tool { slug } } }",
  "Mutation.restartDeployment.id": "mutation ($it: ID!) { restartDeployment(id: $it) { tool { slug } } }",
  "Mutation.checkDeploymentHealth.id": "mutation ($it: ID!) { checkDeploymentHealth(id: $it) { status } }",
  "Mutation.stopDeployment.id": "mutation ($it: ID!) { stopDeployment(id: $it) { tool { slug } } }",
  // It takes over from the one that is named above.
  "DeployToolInput.toolId": "mutation ($it: ID!) { deployTool(input: { toolId: $it }) { tool { slug } } }",
  "Mutation.shareTool.toolId": 'mutation ($it: ID!) { shareTool(toolId: $it, userId: "ada.l", access: VIEW) { slug } }',
  "Mutation.shareTool.userId":
    'mutation ($it: ID!) { shareTool(toolId: "greeter", userId: $it, access: VIEW) { sharedWith { user { username } } } }',
  "Mutation.unshareTool.toolId": 'mutation ($it: ID!) { unshareTool(toolId: $it, userId: "ada.l") { slug } }',
  "Mutation.unshareTool.userId": null, // as of shareTool
  "Mutation.deleteTool.id": "mutation ($it: ID!) { deleteTool(id: $it) { slug } }",
  "Mutation.restoreTool.id": "mutation ($it: ID!) { restoreTool(id: $it) { slug } }",
  "Mutation.setUserRole.userId": "mutation ($it: ID!) { setUserRole(userId: $it, role: DEVELOPER) { username } }",
  "Mutation.setUserDisabled.userId":
    "mutation ($it: ID!) { setUserDisabled(userId: $it, disabled: false) { username } }",
  "Mutation.resetPassword.userId": "mutation ($it: ID!) { resetPassword(userId: $it) }",
  "CreateApiKeyInput.toolIds":
    'mutation ($it: ID!) { createApiKey(input: { name: "limited", scopes: [INVOKE], toolIds: [$it] }) { apiKey { id } } }',
  "Mutation.revokeApiKey.id": "mutation ($it: ID!) { revokeApiKey(id: $it) { name } }",
  "Subscription.deploymentEvents.deploymentId":
    'subscription ($it: ID!) { deploymentEvents(deploymentId: $it, after: "0") { deployment { tool { slug } } } }',
  "Subscription.deploymentEvents.toolId":
    'subscription ($it: ID!) { deploymentEvents(toolId: $it, after: "0") { deployment { tool { slug } } } }',
  "Subscription.deploymentHealth.deploymentId":
    'subscription ($it: ID!) { deploymentHealth(deploymentId: $it, after: "0") { deployment { tool { slug } } } }',
  "Subscription.deploymentHealth.toolId":
    'subscription ($it: ID!) { deploymentHealth(toolId: $it, after: "0") { deployment { tool { slug } } } }',
  "Subscription.deploymentLogs.deploymentId": "subscription ($it: ID!) { deploymentLogs(deploymentId: $it) { text } }",
  "Subscription.toolChanged.id": 'subscription ($it: ID!) { toolChanged(id: $it, after: "0") { tool { slug } } }',
  "UpdateDocumentInput.toolId": null, // below, with a document
  "ConnectRepositoryInput.toolId": null, // takes a credential of GitHub
  // Names of these are their ids, or they have none.
  "Query.task.id": null,
  "Query.document.id": null,
  "Query.template.id": null,
  "Query.deployments.templateId": null,
  "Query.githubConnection.id": null,
  "Mutation.cancelTask.id": null,
  "Mutation.updateDocument.id": null,
  "Mutation.deleteDocument.id": null,
  "Mutation.createToolFromTemplate.templateId": null,
  "Mutation.deleteTemplate.id": null,
  "Mutation.deployTemplate.templateId": null,
  "Mutation.syncRepository.connectionId": null,
  "Mutation.disconnectRepository.connectionId": null,
  "Subscription.taskUpdated.id": null,
  "Subscription.taskUpdated.toolId":
    'subscription ($it: ID!) { taskUpdated(toolId: $it, after: "0") { task { tool { slug } } } }',
  // Not in this version: they answer nothing, or say so.
  "Query.release.id": null,
  "Query.releases.toolId": null,
  "Query.doraMetrics.toolId": null,
  "Mutation.validateDeployment.toolId": null,
  "Mutation.runSecurityScan.toolId": null,
  "Mutation.runSmokeTests.toolId": null,
  "Mutation.approveRelease.toolId": null,
  "Mutation.resumeRelease.id": null,
  "Subscription.releaseUpdated.id": null,
  "PromoteInput.toolId": null,
  "RollbackInput.toolId": null,
};
const NAMED = Object.entries(PLACES).flatMap(([place, query]) => (query === null ? [] : [{ place, query }]));

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>["send"];
let token: string;
let deploymentName: string;

/** The first event of a subscription, or its first error. */
async function firstOf(query: string, it: string, until = AbortSignal.timeout(20_000)) {
  const client = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: `Bearer ${token}` },
    retryAttempts: 0,
  });
  const end = () => void client.dispose();
  until.addEventListener("abort", end);
  try {
    for await (const answer of client.iterate({ query, variables: { it } })) return answer;
    return null;
  } catch (errors) {
    return { data: null, errors };
  } finally {
    await client.dispose();
  }
}

const ask = (query: string, it: string) =>
  query.startsWith("subscription") ? firstOf(query, it) : admin(query, { it });

beforeAll(async () => {
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token).send;
  const server = join(import.meta.dirname, "../../packages/bridge/fixtures/server.mjs");
  const launch = { stdio: { command: process.execPath, args: [server] } };
  await admin("mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }", {
    input: { name: "Greeter", description: "Greets.", launch },
  });
  await admin('mutation { suggestImprovements(toolId: "greeter") { id } }');
  await admin('mutation { deployTool(input: { toolId: "greeter" }) { name } }');
  await admin('mutation { uploadDocument(input: { title: "One", content: "greetings", toolId: "greeter" }) { id } }');
  await admin(
    'mutation { register(input: { username: "Ada.L", email: "ada@example.com", password: "lovelace wrote the first 1843" }) { tokenType } }',
  );
  for (const name of ["assistant", "backups of June"])
    await admin("mutation ($name: String!) { createApiKey(input: { name: $name, scopes: [INVOKE] }) { secret } }", {
      name,
    });
  deploymentName = await eventually("the deployment runs", async () => {
    const { data } = await admin<{ deployment: { name: string; status: string } }>(
      '{ deployment(id: "greeter") { name status } }',
    );
    return data.deployment.status === "RUNNING" ? data.deployment.name : null;
  });
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

test("the table has every place of the graph that takes an id", () => {
  const schema = buildSchema(readFileSync(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
  const isId = (type: Parameters<typeof getNamedType>[0]) => getNamedType(type)?.name === "ID";
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  const places = [
    ...roots.flatMap((root) =>
      Object.values(root?.getFields() ?? {}).flatMap((field) =>
        field.args.filter(({ type }) => isId(type)).map(({ name }) => `${root?.name}.${field.name}.${name}`),
      ),
    ),
    ...Object.values(schema.getTypeMap()).flatMap((type) =>
      isInputObjectType(type)
        ? Object.values(type.getFields())
            .filter((field) => isId(field.type))
            .map(({ name }) => `${type.name}.${name}`)
        : [],
    ),
  ];
  expect(Object.keys(PLACES).toSorted()).toEqual(places.toSorted());
});

/** What to call the thing at a place: right, and nearly so. */
function namesAt(place: string): { right: string[]; typo: string; meant: string } {
  if (/user/i.test(place)) return { right: ["ada.l", "Ada.L"], typo: "ada.ll", meant: "Ada.L" };
  if (/ApiKey\./.test(place)) return { right: ["assistant"], typo: "backup of June", meant: "backups of June" };
  const isDeployment = /deploymentId|Deployment\w*\.id|deployment\.id/.test(place);
  return { right: isDeployment ? [deploymentName, "greeter"] : ["greeter"], typo: "greter", meant: "greeter" };
}

describe("a name where an id is taken", () => {
  test.each(NAMED)("$place says of a wrong one which it may have been", async ({ place, query }) => {
    const { typo, meant } = namesAt(place);
    const answer = JSON.stringify(await ask(query, typo));
    expect(answer).toContain(`\\"${typo}\\". Did you mean \\"${meant}\\"?`);
    expect(answer).not.toContain("..");
  });

  // In the order of the table: the deployment is stopped and the tool deleted last.
  test.each(NAMED)("$place takes it", async ({ place, query }) => {
    for (const it of namesAt(place).right) {
      if (/deploymentHealth|deploymentLogs/.test(place)) {
        // Nothing may ever come: it is not refused.
        const answer = await firstOf(query, it, AbortSignal.timeout(300));
        expect((answer as { errors?: unknown } | null)?.errors).toBeUndefined();
        continue;
      }
      const answer = JSON.stringify(await ask(query, it));
      expect(answer).not.toMatch(/"message":/);
      if (/user/i.test(place)) expect(answer).toMatch(/"username":"Ada.L"|"resetPassword":"/);
      else if (/slug/.test(query)) expect(answer).toContain('"slug":"greeter"');
    }
  });

  test("a document's tool changes by slug", async () => {
    const { data } = await admin<{ uploadDocument: { id: string } }>(
      'mutation { uploadDocument(input: { title: "Free", content: "x" }) { id } }',
    );
    const update =
      "mutation ($id: ID!, $it: ID!) { updateDocument(id: $id, input: { toolId: $it }) { tool { slug } } }";
    const { id } = data.uploadDocument;
    expect((await admin(update, { id, it: "greeter" })).data).toEqual({
      updateDocument: { tool: { slug: "greeter" } },
    });
    const wrong = await admin(update, { id, it: "greter" });
    expect(JSON.stringify(wrong)).toContain('There is no tool \\"greter\\". Did you mean \\"greeter\\"?');
  });
});

test("a tool of a name that is there already gets a slug of its own, and every client is told so", async () => {
  const create = async (name: string) => {
    const response = await fetch(`${toolyard.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({
        query: "mutation ($input: CreateToolInput!) { createTool(input: $input) { slug } }",
        variables: { input: { name, description: "", launch: { stdio: { command: "node" } } } },
      }),
    });
    return response.json();
  };
  expect(await create("Noisy")).toEqual({ data: { createTool: { slug: "noisy" } } });
  expect(await create("noisy!")).toEqual({
    data: { createTool: { slug: "noisy-2" } },
    extensions: {
      warnings: [
        'There is a tool "noisy" already, so this one is "noisy-2". To change the one that was there, use updateTool(id: "noisy", …).',
      ],
    },
  });
});

test("who may not is told what they tried, and JSON that is broken where it is", async () => {
  const answer = await graphqlClient(toolyard.url).send<{ register: { accessToken: string } }>(
    'mutation { register(input: { username: "watcher", email: "w@example.com", password: "yet another phrase 4711" }) { accessToken } }',
  );
  const viewer = graphqlClient(toolyard.url, answer.data.register.accessToken).send;
  const refused = async (field: string) => (await viewer(`mutation { ${field} }`)).errors[0]?.message;
  const end = "as VIEWER: that takes the role DEVELOPER, which an administrator can give.";
  const tool = 'createTool(input: { name: "X", description: "", launch: { stdio: { command: "x" } } }) { id }';
  expect(await refused(tool)).toBe(`You may not register tools ${end}`);
  expect(await refused('deleteTool(id: "greeter") { id }')).toBe(`You may not delete this tool ${end}`);
  expect(await refused('deployTool(input: { toolId: "greeter" }) { id }')).toBe(`You may not deploy tools ${end}`);
  expect(await refused('stopDeployment(id: "greeter") { id }')).toBe(`You may not stop this deployment ${end}`);
  expect(await refused('uploadDocument(input: { title: "t", content: "c" }) { id }')).toBe(
    `You may not upload documents ${end}`,
  );
  const post = async (body: string) =>
    (
      await fetch(`${toolyard.url}/graphql`, { method: "POST", headers: { "content-type": "application/json" }, body })
    ).text();
  expect(await post('{\n  "query": "{ me { id } }",\n}')).toContain(
    "The body is not JSON: at line 3, column 1 expected double-quoted property name.",
  );
  const nested = "[".repeat(20_000) + "]".repeat(20_000);
  expect(await post(`{"query":"{ me { id } }","variables":{"it":${nested}}}`)).toContain(
    "The body has more than 256 levels.",
  );
});

describe("names tell nobody more than they may know", () => {
  test("users are found and suggested by name for administrators only, and oneself", async () => {
    const password = "a quite different phrase 77";
    const register = await graphqlClient(toolyard.url).send<{ register: { accessToken: string } }>(
      'mutation ($password: String!) { register(input: { username: "visitor", email: "v@example.com", password: $password }) { accessToken } }',
      { password },
    );
    const visitor = graphqlClient(toolyard.url, register.data.register.accessToken).send;
    const user = (id: string, as = visitor) => as("query ($id: ID!) { user(id: $id) { username } }", { id });
    expect((await user("visitor")).data).toEqual({ user: { username: "visitor" } });
    for (const name of ["Ada.L", "ada.ll", "admin", "nobody-at-all"]) {
      const answer = await user(name);
      expect(answer.data).toEqual({ user: null });
      expect(answer.errors).toEqual([]);
    }
    for (const name of ["Ada.L", "nobody-at-all"])
      expect(JSON.stringify(await user(name, graphqlClient(toolyard.url).send))).toContain("UNAUTHENTICATED");
  });

  test("a stranger learns of no tool or deployment", async () => {
    const stranger = graphqlClient(toolyard.url).send;
    for (const { place, query } of NAMED.filter(({ query }) => !query.startsWith("subscription"))) {
      const { right, typo, meant } = namesAt(place);
      for (const it of [...right, typo]) {
        const answer = JSON.stringify(await stranger(query, { it }));
        expect(answer).toContain("UNAUTHENTICATED");
        expect(answer).not.toContain("Did you mean");
        expect(answer).not.toContain(`"${meant}"`);
      }
    }
  });
});
