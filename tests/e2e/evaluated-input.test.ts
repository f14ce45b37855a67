import {
  eventually,
  graphqlClient,
  logIn,
  mostLoopWork,
  processesWith,
  startToolyard,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>["send"];

beforeAll(async () => {
  toolyard = await startToolyard();
  admin = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword)).send;
});
afterAll(async () => {
  await toolyard[Symbol.asyncDispose]();
});

const CREATE = `mutation ($schema: JSON) { createTool(input: { name: "S", description: "d", configSchema: $schema,
  launch: { stdio: { command: "node", args: [] } } }) { id } }`;
const DEPLOY = `mutation ($id: ID!, $configuration: JSON) { deployTool(input: { toolId: $id, configuration: $configuration }) { id } }`;
const UPLOAD = `mutation ($title: String!, $content: String!) { uploadDocument(input: { title: $title, content: $content, contentType: "text/plain" }) { id } }`;
const SEARCH = `query ($query: String!) { searchDocuments(query: $query, first: 100) { totalCount edges { node { snippet } } } }`;

/** The most that one of Toolyard's event loops worked on before it answered /health, in ms of its CPU time, while something else ran. */
const whileAsking = async <Result>(work: Promise<Result>) =>
  mostLoopWork(await toolyard.serving(), async () => (await fetch(`${toolyard.url}/health`)).text(), work);

describe("what a user writes and Toolyard evaluates", () => {
  test("as a configSchema neither ends it nor holds it up", async () => {
    for (const schema of [
      { $async: true },
      { properties: { a: { $async: true } } },
      { pattern: "(?=a)" },
      { $ref: "#" },
    ]) {
      expect((await admin(CREATE, { schema })).errors, JSON.stringify(schema)).toMatchObject([
        { extensions: { code: "BAD_USER_INPUT" } },
      ]);
    }
    const evil = { properties: { a: { pattern: "^(a+)+$" }, b: { uniqueItems: true } } };
    const created = await admin<{ createTool: { id: string } }>(CREATE, { schema: evil });
    const { id } = created.data.createTool;
    const configurations = [{ a: `${"a".repeat(50_000)}!` }, { b: Array.from({ length: 12_000 }, (_, n) => ({ n })) }];
    const { result, most } = await whileAsking(
      Promise.all(configurations.map((configuration) => admin(DEPLOY, { id, configuration }))),
    );
    expect(result[0]?.errors).toMatchObject([{ extensions: { code: "BAD_USER_INPUT" } }]);
    // Either it was quick enough to be found right, or it was given up.
    expect([undefined, "TIMEOUT"]).toContain(result[1]?.errors[0]?.extensions.code);
    expect(most).toBeLessThan(3_000);
  });

  test("as documents of one word over and over costs others' searches nothing, and the end of Toolyard does not wait", async () => {
    for (let number = 0; number < 10; number += 1) {
      const content = "needle ".repeat(2_000_000 / 7);
      expect((await admin(UPLOAD, { title: `Long ${number}`, content })).errors).toEqual([]);
    }
    await admin(UPLOAD, { title: "Short", content: "a haystack" });
    const { result, most } = await whileAsking(
      Promise.all([
        admin<{ searchDocuments: { totalCount: number } }>(SEARCH, { query: "needle" }),
        admin<{ searchDocuments: { totalCount: number } }>(SEARCH, { query: "need* -hay*" }),
        admin<{ searchDocuments: { totalCount: number } }>(SEARCH, { query: '"needle needle" needle*' }),
        admin<{ searchDocuments: { totalCount: number } }>(SEARCH, { query: "haystack" }),
      ]),
    );
    expect(result.map(({ data, errors }) => errors[0] ?? data.searchDocuments.totalCount)).toEqual([10, 10, 10, 1]);
    expect(most).toBeLessThan(3_000);
    void admin(SEARCH, { query: `"${"needle ".repeat(140)}"` }).catch(() => undefined);
    expect(await toolyard.stop()).toBe(0);
    await eventually("the end of its processes", async () => (await processesWith(toolyard.dataDir)).length === 0);
  });
});
