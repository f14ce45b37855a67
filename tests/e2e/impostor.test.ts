import { spawnSync } from "node:child_process";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- calls come at many moments of a restart, of which nothing tells
import { setTimeout as delay } from "node:timers/promises";
import { eventually, graphqlClient, logIn, portBlock, startToolyard } from "@toolyard/testing";
import { describe, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const hasBubblewrap = spawnSync("bwrap", ["--ro-bind", "/", "/", "--unshare-pid", "true"]).status === 0;
/** In every call that is made here: it must not be heard anywhere else. */
const MARKER = "said-in-confidence";

describe.each([
  { isolation: "none", possible: true },
  { isolation: "bubblewrap", possible: hasBubblewrap },
])(
  "a replica that takes every port and socket it can reach, with PROCESS_ISOLATION=$isolation",
  ({ isolation, possible }) => {
    test.skipIf(!possible)("is told no token and no call of another's", async () => {
      const { first, last } = await portBlock();
      const range = `${first}-${last}`;
      await using toolyard = await startToolyard({ env: { PROCESS_ISOLATION: isolation, MCP_PORT_RANGE: range } });
      const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      const admin = graphqlClient(toolyard.url, token);

      async function deploy(name: string, launch: Record<string, unknown>): Promise<string> {
        const { createTool } = await admin.query<{ createTool: { id: string } }>(
          "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
          { input: { name, description: "e2e", launch } },
        );
        const { deployTool } = await admin.query<{ deployTool: { id: string } }>(
          "mutation ($id: ID!) { deployTool(input: { toolId: $id }) { id } }",
          { id: createTool.id },
        );
        return deployTool.id;
      }
      const logOf = async (id: string): Promise<string[]> => {
        const { deployment } = await admin.query<{ deployment: { logs: { text: string }[] } }>(
          "query ($id: ID!) { deployment(id: $id) { logs(last: 1000) { text } } }",
          { id },
        );
        return deployment.logs.map(({ text }) => text);
      };
      interface State {
        health: string;
        replicas: { startedAt: string | null }[];
      }
      const stateOf = async (id: string): Promise<State> =>
        (
          await admin.query<{ deployment: State }>(
            "query ($id: ID!) { deployment(id: $id) { health replicas { startedAt } } }",
            { id },
          )
        ).deployment;
      const call = (slug: string, path: string) =>
        fetch(`${toolyard.proxyUrl}/mcp/${slug}/v1${path}`, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            accept: "application/json, text/event-stream",
            authorization: `Bearer ${token}`,
          },
          body: JSON.stringify({
            jsonrpc: "2.0",
            id: 1,
            method: "tools/call",
            params: { name: "echo", arguments: { message: MARKER } },
          }),
        });

      const impostor = await deploy("Impostor", {
        stdio: {
          command: process.execPath,
          args: [join(FIXTURES, "impostor.mjs"), range],
          // As an argument the sandbox would refuse DATA_DIR.
          env: [{ name: "FOLDERS", value: `${toolyard.dataDir}:/run` }],
        },
      });
      await eventually(
        "the impostor's ports",
        async () => (await logOf(impostor)).filter((line) => line.startsWith("TOOK port")).length > 10,
      );

      const victim = await deploy("Victim", {
        stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] },
      });
      await deploy("Slow", {
        http: {
          command: process.execPath,
          args: [join(FIXTURES, "slow-http.mjs")],
          options: { health: { readinessPath: "/ready" } },
        },
      });
      let startedAt: string | null | undefined;
      const loot = async () => (await logOf(impostor)).filter((line) => line.startsWith("LOOT"));
      // Unisolated it gets as far as a challenge, sooner or later; isolated there is no socket to be seen.
      const isChallenged = async () => (await loot()).some((line) => line.includes("GET /proof?nonce="));
      for (let round = 0; round < 3 || (isolation === "none" && !(await isChallenged())); round += 1) {
        if (isolation === "bubblewrap")
          startedAt = await eventually("its health after the start", async () => {
            const { health, replicas } = await stateOf(victim);
            return health === "HEALTHY" && replicas[0]?.startedAt !== startedAt && replicas[0]?.startedAt;
          });
        // Spread over the moments in which one replica ends and the next begins.
        await Promise.all(
          Array.from({ length: 20 }, async (_, index) => {
            await delay(index * 50);
            const [answer] = await Promise.all([call("victim", "/mcp"), call("slow", `/${MARKER}`)]);
            const text = await answer.text();
            if (isolation === "bubblewrap") expect(text).toContain(`Echo: ${MARKER}`);
          }),
        );
        await admin.query("mutation ($id: ID!) { restartDeployment(id: $id) { id } }", { id: victim });
      }

      const found = await loot();
      const { me } = await admin.query<{ me: { id: string } }>("{ me { id } }");
      for (const secret of [MARKER, "Bearer", me.id, "x-toolyard-user", "POST "])
        expect(found.filter((line) => line.includes(secret))).toEqual([]);
      // A server's own port is asked nothing at all once a stranger has it.
      expect(found.filter((line) => line.startsWith("LOOT port"))).toEqual([]);
      if (isolation === "bubblewrap")
        expect((await logOf(impostor)).filter((line) => line.startsWith("TOOK /"))).toEqual([]);
    });
  },
);
