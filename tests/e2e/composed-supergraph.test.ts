import { mkdtemp, readFile, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { eventually, freePort } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { runGateway, startShop, type RunningGateway, type Shop } from "./fixtures/shop.ts";

const COLOUR = "extend type Product { colour: String }";
const PRODUCTS = "{ products(first: 2) { upc name reviews { body } } }";

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => {
  await shop?.close();
});

interface Answer {
  data?: Record<string, unknown> | null;
  errors?: { message: string }[];
}

async function ask(gateway: Pick<RunningGateway, "url">, query: string): Promise<Answer> {
  const answer = await fetch(`${gateway.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query }),
  });
  return (await answer.json()) as Answer; // the shape of every answer of GraphQL over HTTP
}

/** A folder with a supergraph.yaml and the schema of the products subgraph beside it; `reviews` is the source of the other's. */
async function folderOf(reviews: string) {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-composed-"));
  /** As editors do it: the file is another one afterwards. */
  const write = async (name: string, content: string) => {
    await writeFile(join(folder, `${name}.new`), content);
    await rename(join(folder, `${name}.new`), join(folder, name));
  };
  await write("products.graphql", shop.subgraphs.products.sdl());
  await write("reviews.graphql", shop.subgraphs.reviews.sdl());
  await write(
    "supergraph.yaml",
    `federation_version: 2
subgraphs:
  products:
    routing_url: ${shop.subgraphs.products.url}
    schema: { file: ./products.graphql }
  reviews:
    routing_url: ${shop.subgraphs.reviews.url}
    schema: ${reviews}
`,
  );
  return { folder, write };
}

/** Asks without a pause until stopped. */
function load(gateway: RunningGateway) {
  const wrong: unknown[] = [];
  let asked = 0;
  let stopped = false;
  const clients = [1, 2].map(async () => {
    while (!stopped) {
      const answer = await ask(gateway, PRODUCTS).catch((error: unknown) => ({ errors: [error] }));
      asked += 1;
      if (answer.errors) wrong.push(answer.errors);
    }
  });
  return {
    async stop() {
      stopped = true;
      await Promise.all(clients);
      return { asked, wrong };
    },
  };
}

test("a changed schema file is served with no request lost and no subscription disturbed; a broken one is refused in one line", async () => {
  const { folder, write } = await folderOf("{ file: reviews.graphql }");
  await using gateway = await runGateway({ folder, args: ["--supergraph-config", "supergraph.yaml"] });
  const client = createClient({
    url: `${gateway.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
  });
  const seen: unknown[] = [];
  const ends: unknown[] = [];
  client.subscribe<{ productSold: { sequence: string } }>(
    { query: "subscription { productSold { sequence product { name } } }" },
    {
      next: ({ data, errors }) => seen.push(errors ?? data?.productSold.sequence),
      error: (error) => ends.push(error),
      complete: () => ends.push("complete"),
    },
  );
  await eventually("the subscription", () => shop.subscribers() === 1);
  const requests = load(gateway);

  shop.publish();
  await eventually("an event before the change", () => seen.length === 1);
  expect((await ask(gateway, "{ products { colour } }")).errors?.[0]?.message).toContain("colour");
  await write("products.graphql", shop.subgraphs.products.sdl(COLOUR));
  await eventually("the new field", async () => (await ask(gateway, "{ products { colour } }")).data);
  shop.publish();
  await eventually("an event after the change", () => seen.length === 2);

  await write("products.graphql", `${shop.subgraphs.products.sdl(COLOUR)}\nextend type Product { weight: Nope }`);
  await eventually("the refusal", () => gateway.output().includes("refused"));
  expect((await ask(gateway, "{ products { colour } }")).data).toBeTruthy();
  await write("reviews.graphql", `${shop.subgraphs.reviews.sdl()} type Broken {`);
  await eventually("the other refusal", () => gateway.output().split("refused").length === 3);
  await write("products.graphql", shop.subgraphs.products.sdl(`${COLOUR} extend type Product { weight: Int }`));
  await write("reviews.graphql", shop.subgraphs.reviews.sdl());
  await eventually("the mended one", async () => (await ask(gateway, "{ products { weight } }")).data);
  shop.publish();
  await eventually("an event after all that", () => seen.length === 3);

  const { asked, wrong } = await requests.stop();
  expect(wrong).toEqual([]);
  expect(asked).toBeGreaterThan(20);
  expect([seen.map(Number), ends]).toEqual([[1, 2, 3].map((n) => Number(seen[0]) + n - 1), []]);
  const lines = gateway.output().trim().split("\n");
  expect(lines).toHaveLength(2);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    level: "error",
    message: expect.stringContaining("the previous supergraph stays in service"),
    reasons: [expect.stringMatching(/^INVALID_GRAPHQL.*\[products\].*Nope/s)],
  });
  expect(JSON.parse(lines[1] ?? "")).toMatchObject({
    reasons: [expect.stringMatching(/^INVALID_GRAPHQL reviews \S*reviews\.graphql:\d+:\d+: .*Syntax Error/)],
  });
  await client.dispose();
  expect((await childrenOf(gateway)).filter((command) => !command.includes("planner-process"))).toEqual([]);
});

test("a running subgraph is awaited, asked for its schema with its headers, and asked again", async () => {
  const port = await freePort();
  const asked: { path: string | undefined; key: string | string[] | undefined }[] = [];
  let sdl = shop.subgraphs.reviews.sdl();
  const schemas = createServer((request, response) => {
    void text(request).then(() => {
      asked.push({ path: request.url, key: request.headers["x-key"] });
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ data: { _service: { sdl } } }));
    });
  });
  const { folder } = await folderOf(
    `{ subgraph_url: "http://127.0.0.1:${port}/graphql", introspection_headers: { X-Key: "\${env.REVIEWS_KEY}" } }`,
  );
  await using gateway = await runGateway({
    folder,
    args: ["-s", "supergraph.yaml"],
    env: { REVIEWS_KEY: "hush-hush", SCHEMA_POLL_INTERVAL_MS: "200" },
    async meanwhile(output) {
      await eventually("it says what it waits for", () =>
        /waiting for the schema of the subgraph \\"reviews\\"/.test(output()),
      );
      schemas.listen(port, "127.0.0.1");
    },
  });
  try {
    expect((await ask(gateway, PRODUCTS)).data?.["products"]).toHaveLength(2);
    expect(asked[0]).toEqual({ path: "/graphql", key: "hush-hush" });
    sdl = shop.subgraphs.reviews.sdl("extend type Review { stars: Int }");
    await eventually("the new field", async () => (await ask(gateway, "{ products { reviews { stars } } }")).data);

    // Away, and what it said last is good; back, and it is asked again.
    schemas.closeAllConnections();
    await new Promise((resolve) => schemas.close(resolve));
    await eventually("it is missed", () => gateway.output().includes("does not serve its schema"));
    expect((await ask(gateway, "{ products { reviews { body } } }")).data).toBeTruthy();
    sdl = shop.subgraphs.reviews.sdl("extend type Review { likes: Int }");
    schemas.listen(port, "127.0.0.1");
    await eventually("the newest field", async () => (await ask(gateway, "{ products { reviews { likes } } }")).data);
    expect(gateway.output()).not.toContain("hush-hush");
    expect(await gateway.stop()).toBe(0);
  } finally {
    schemas.closeAllConnections();
    await new Promise((resolve) => schemas.close(resolve));
  }
});

test("subgraphs that do not compose stop the first start with 1 and every reason", async () => {
  const { folder, write } = await folderOf("{ file: reviews.graphql }");
  await write("reviews.graphql", shop.subgraphs.reviews.sdl("extend type Product { name: Int }"));
  const args = ["--supergraph-config", join(folder, "supergraph.yaml")];
  const refused = await runGateway({ folder, args }).then(
    () => "it started",
    (error: Error) => error.message,
  );
  expect(refused).toMatch(/^It ended with 1: .*supergraph\.yaml do not compose:\n- /s);
  expect(refused).toMatch(/^- FIELD_TYPE_MISMATCH .*reviews \S*reviews\.graphql:\d+:\d+: /m);
  expect(refused.match(/^- /gm)?.length).toBeGreaterThan(1);
});

test("schema after schema under load: every request is answered, and no process, connection or old schema stays", async () => {
  const { folder, write } = await folderOf("{ file: reviews.graphql }");
  await using gateway = await runGateway({ folder, args: ["--supergraph-config", "supergraph.yaml"] });
  const client = createClient({ url: `${gateway.url.replace("http", "ws")}/graphql`, webSocketImpl: WebSocket });
  const requests = load(gateway);
  for (let n = 1; n <= 5; n++) {
    // Each schema has a subscription of its own that stays.
    const subscription = client.iterate({ query: `subscription S${n} { productSold { sequence } }` });
    void subscription.next();
    await write("products.graphql", shop.subgraphs.products.sdl(`extend type Product { f${n}: Int }`));
    await eventually(`field ${n}`, async () => (await ask(gateway, `{ products(first: 1) { f${n} } }`)).data);
  }
  const { wrong } = await requests.stop();
  expect(wrong).toEqual([]);
  // A planner of each kind.
  await eventually("old planners end", async () => (await childrenOf(gateway)).length <= 2);
  await client.dispose();
});

/** What the gateway's own child processes were started as. */
async function childrenOf({ process: { pid } }: RunningGateway): Promise<string[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  const commands = children.match(/\d+/g)?.map((child) => readFile(`/proc/${child}/cmdline`, "utf8").catch(() => "")); // ended meanwhile
  return (await Promise.all(commands ?? [])).filter((command) => command !== "");
}
