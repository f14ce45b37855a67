/**
 * REST beside the graph: a GET of a tool and the operation that it stands for, sent to /graphql. And logins beside bare hashes by argon2 with
 * the same parameters, which bound them: as many at once, on the same cores. In turns, so that all see the same machine; medians.
 */
import { createPasswordHasher } from "@toolyard/subgraph-identity/password-hash.ts";
import { withFragments } from "@toolyard/gateway/rest/fragments.ts";
import { restRoutes } from "@toolyard/gateway/rest/routes/index.ts";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { Agent, request } from "undici";

const CONCURRENCY = 16;
const TURN_MS = 2_000;
/** The first warms up. */
const ROUNDS = 7;

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

await using toolyard = await startToolyard({ env: { SAMPLE: "true", RATE_LIMIT_ENABLED: "false" } });
const { url, adminPassword: password } = toolyard;
const token = await logIn(url, "admin", password);
const dispatcher = new Agent({ connections: CONCURRENCY });
const hasher = createPasswordHasher();

async function ask(path: string, body?: object): Promise<void> {
  const answer = await request(url + path, {
    dispatcher,
    headers: { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }) },
    ...(body && { method: "POST", body: JSON.stringify(body) }),
  });
  const text = await answer.body.text();
  if (answer.statusCode !== 200 || text.includes('"errors"')) throw new Error(`${answer.statusCode} ${text}`);
}

const { tool } = await graphqlClient(url, token).query<{ tool: { id: string } }>('{ tool(id: "everything") { id } }');
const route = restRoutes.find(({ method, path }) => method === "GET" && path === "/api/v1/mcps/{tool_id}");
if (!route) throw new Error("REST has no route for one tool.");
const graphBody = { query: withFragments(route.operation), variables: { toolId: tool.id } };

const ways = {
  rest: () => ask(route.path.replace("{tool_id}", tool.id)),
  graph: () => ask("/graphql", graphBody),
  login: () => ask("/api/v1/auth/login", { username: "admin", password }),
  hash: () => hasher.hash(password).then(() => undefined),
};
type Way = keyof typeof ways;
const rates: Record<Way, number[]> = { rest: [], graph: [], login: [], hash: [] };

/** How often a second. */
async function rateOf(way: () => Promise<void>): Promise<number> {
  const started = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      while (performance.now() - started < TURN_MS) {
        await way();
        done += 1;
      }
    }),
  );
  return done / ((performance.now() - started) / 1_000);
}

for (let round = 0; round < ROUNDS; round++)
  for (const name of Object.keys(ways) as Way[]) {
    const rate = await rateOf(ways[name]);
    if (round > 0) rates[name].push(rate);
  }
await dispatcher.close();

function line(what: string, [one, other]: readonly [Way, Way], reach: string): void {
  const [a, b] = [median(rates[one]), median(rates[other])];
  console.log(`${what.padEnd(66)} ${`${(a / b).toFixed(2)} (${a.toFixed(0)} / ${b.toFixed(0)})`.padEnd(24)} ${reach}`);
}
line("REST: GET of a tool a second, of the same operation at /graphql", ["rest", "graph"], "≥ 0.8");
line("logins a second, of bare argon2 hashes with the same parameters", ["login", "hash"], "");
