import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { newId } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { describeOnMongodb, ownMongodb, withWayToMongodb } from "@toolyard/testing/mongodb.ts";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing/toolyard.ts";
import { expect, onTestFinished, test } from "vitest";

const UPLOAD = "mutation ($input: UploadDocumentInput!) { uploadDocument(input: $input) { id } }";
const SEARCH =
  "query ($query: String!) { searchDocuments(query: $query, first: 100) { totalCount edges { node { snippet document { id title } } } } }";

interface Found {
  searchDocuments: {
    totalCount: number;
    edges: { node: { snippet: string; document: { id: string; title: string } } }[];
  };
}

describeOnMongodb("Toolyard with its documents in MongoDB", () => {
  test(
    "keeps them there and finds them after a restart; loses none that it acknowledged while MongoDB goes away and comes back, and says so meanwhile",
    () =>
      withWayToMongodb(async (way) => {
        const database = ownMongodb();
        onTestFinished(() => database.close());
        const dataDir = await mkdtemp(join(tmpdir(), "toolyard-e2e-"));
        onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
        const name = /\/([\w-]+)\?/.exec(database.url)?.[1] ?? newId();
        // Refusals are to be those for MongoDB alone.
        const env = { MONGODB_URL: way.url(name), RATE_LIMIT_ENABLED: "false" };
        const start = async () => {
          const toolyard = await startToolyard({ dataDir, env });
          const client = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
          return { toolyard, client };
        };
        const health = async (url: string) =>
          // The test reads these of it.
          (await (await fetch(`${url}/health`)).json()) as {
            status: string;
            services: Record<string, { status: string; detail?: string }>;
          };

        const first = await start();
        await first.client.query(UPLOAD, {
          input: { title: "Storms", content: "Sailors generate reports about storms." },
        });
        expect((await first.client.query<Found>(SEARCH, { query: "genera* storm" })).searchDocuments).toMatchObject({
          totalCount: 1,
          edges: [{ node: { snippet: expect.stringContaining("⟦storms⟧"), document: { title: "Storms" } } }],
        });
        expect(existsSync(join(dataDir, "knowledge.sqlite"))).toBe(false);
        expect((await health(first.toolyard.url)).services["mongodb"]).toMatchObject({ status: "healthy" });
        expect(await first.toolyard.stop()).toBe(0);

        const { toolyard, client } = await start();
        const acknowledged = new Set<string>();
        const refusals: unknown[] = [];
        let writes = true;
        const writing = (async () => {
          while (writes) {
            const { data, errors } = await client.send<{ uploadDocument: { id: string } } | null>(UPLOAD, {
              input: { title: "Load", content: "underload" },
            });
            if (data?.uploadDocument) acknowledged.add(data.uploadDocument.id);
            else refusals.push(errors[0]?.extensions.code);
          }
        })();
        try {
          expect((await client.query<Found>(SEARCH, { query: "storms" })).searchDocuments.totalCount).toBe(1);
          await eventually("documents that are acknowledged", () => acknowledged.size > 2);
          await way.close();
          await eventually("a refusal", () => refusals.length > 0);
          const { errors } = await client.send(SEARCH, { query: "storms" });
          expect(errors).toMatchObject([{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }]);
          expect(await health(toolyard.url)).toMatchObject({
            status: "degraded",
            services: {
              mongodb: { status: "unhealthy", detail: expect.stringContaining("MONGODB_URL") },
              knowledge: { status: "unhealthy" },
            },
          });
          expect(await client.query("{ tools { totalCount } }")).toEqual({ tools: { totalCount: 0 } });
          const before = acknowledged.size;
          await way.open();
          await eventually("documents that are acknowledged again", () => acknowledged.size > before);
        } finally {
          writes = false;
          await writing;
        }
        expect(new Set(refusals), toolyard.output()).toEqual(new Set(["UPSTREAM_UNAVAILABLE"]));
        const { searchDocuments } = await client.query<Found>(SEARCH, { query: "underload" });
        // One whose commit was under way may be there though it was not acknowledged.
        expect(searchDocuments.totalCount).toBeGreaterThanOrEqual(acknowledged.size);
        for (const id of acknowledged)
          expect(await client.query("query ($id: ID!) { document(id: $id) { content } }", { id })).toEqual({
            document: { content: "underload" },
          });
        expect(toolyard.output()).not.toMatch(/mongodb:\/\//);
        expect(await toolyard.stop()).toBe(0);
      }),
    180_000,
  );
});
