/** What servers offer, as the graph of all subgraphs shows it: tools has the versions, deployments what their servers said. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const server = fileURLToPath(new URL("../../packages/bridge/fixtures/offers.mjs", import.meta.url));

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
beforeAll(async () => {
  // The server reads a file outside of its sandbox.
  toolyard = await startToolyard({ env: { PROCESS_ISOLATION: "none" } });
  admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
});
afterAll(() => toolyard[Symbol.asyncDispose]());

interface Interface {
  hash: string;
  tools: { name: string }[];
  changes: { removed: { name: string }[] }[];
}
interface Version {
  number: number;
  interface: Interface | null;
}

test("a tool and its versions show what their server offers, and how that changed", async () => {
  const file = join(toolyard.dataDir, "offer.json");
  const offer = (...names: string[]) =>
    writeFile(file, JSON.stringify({ lists: { "tools/list": [names.map((name) => ({ name, inputSchema: {} }))] } }));
  await offer("forecast", "alerts");
  const launch = { stdio: { command: process.execPath, args: [server, file] } };
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name: "Offers", description: "It offers.", launch } },
  );
  const { id } = createTool;
  const shown = async () => {
    const { tool } = await admin.query<{
      tool: { interface: Interface | null; versions: { edges: { node: Version }[] } };
    }>(
      `query ($id: ID) { tool(id: $id) {
        interface { hash tools { name } changes { removed { name } } }
        versions { edges { node { number interface { hash tools { name } } } } }
      } }`,
      { id },
    );
    return tool;
  };
  expect((await shown()).interface).toBeNull();
  const { deployTool } = await admin.query<{ deployTool: { id: string } }>(
    "mutation ($id: ID!) { deployTool(input: { toolId: $id }) { id } }",
    { id },
  );
  const first = await eventually("its interface", async () => {
    const tool = await shown();
    return tool.interface !== null && tool;
  });
  expect(first.interface).toMatchObject({ tools: [{ name: "forecast" }, { name: "alerts" }], changes: [] });
  expect(first.versions.edges[0]?.node).toMatchObject({ number: 1, interface: { hash: first.interface?.hash } });
  // Another version that runs the same, and one that does not.
  const update = "mutation ($id: ID!, $input: UpdateToolInput!) { updateTool(id: $id, input: $input) { id } }";
  await admin.query(update, { id, input: { description: "It still offers." } });
  const other = { stdio: { command: process.execPath, args: [server, `${file}.other`] } };
  await admin.query(update, { id, input: { launch: other } });
  const versions = (await shown()).versions.edges.map(({ node }) => [node.number, node.interface?.hash ?? null]);
  expect(versions).toEqual([
    [3, null],
    [2, first.interface?.hash],
    [1, first.interface?.hash],
  ]);
  await offer("forecast");
  await admin.query("mutation ($id: ID!) { restartDeployment(id: $id) { id } }", { id: deployTool.id });
  const changed = await eventually("the change", async () => {
    const tool = await shown();
    return (tool.interface?.changes.length ?? 0) > 0 && tool;
  });
  expect(changed.interface).toMatchObject({
    tools: [{ name: "forecast" }],
    changes: [{ removed: [{ name: "alerts" }] }],
  });
});
