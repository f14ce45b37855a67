import { logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

let toolyard: RunningToolyard;
beforeAll(async () => {
  toolyard = await startToolyard({
    env: { RATE_LIMIT_FIELDS: "login=12,refreshSession=4,tools=40", RATE_LIMIT_OPERATIONS_PER_MINUTE: "400" },
  });
});
afterAll(() => toolyard.stop());

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${toolyard.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
const policiesOf = ({ headers }: Response) =>
  [...(headers.get("ratelimit-policy") ?? "").matchAll(/"(\w+)";q=(\d+);w=(\d+)/g)].map(([, ...parts]) => parts);
const leftOf = ({ headers }: Response, name: string) =>
  Number(new RegExp(`"${name}";r=(\\d+);t=\\d+`).exec(headers.get("ratelimit") ?? "")?.[1]);

test("REST and GraphQL tell one caller's quotas in headers and count against the same ones, field by field", async () => {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const authorization = { authorization: `Bearer ${token}` };
  const byRest = await fetch(`${toolyard.url}/api/v1/mcps`, { headers: authorization });
  expect(byRest.status).toBe(200);
  expect(policiesOf(byRest)).toEqual([
    ["operations", "100", "15"],
    ["tools", "10", "15"],
  ]);
  expect(byRest.headers.get("ratelimit-limit")).toBe("10");
  const left = leftOf(byRest, "tools");
  const byGraph = await post(
    "/graphql",
    { query: "{ one: tools { totalCount } two: tools { totalCount } }" },
    authorization,
  );
  expect(byGraph.status).toBe(200);
  expect(leftOf(byGraph, "tools")).toBeLessThan(left);
  const statuses = [];
  let refused: Response | null = null;
  for (let i = 0; i < 12 && !refused; i++) {
    const answer = await fetch(`${toolyard.url}/api/v1/mcps`, { headers: authorization });
    statuses.push(answer.status);
    if (answer.status === 429) refused = answer;
  }
  expect(refused?.headers.get("content-type")).toMatch("application/problem+json");
  expect(Number(refused?.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(refused?.headers.get("ratelimit-remaining")).toBe("0");
  expect(await refused?.json()).toMatchObject({
    code: "RATE_LIMITED",
    detail: expect.stringContaining('Too many of "tools"'),
  });
  const graphRefused = await post("/graphql", { query: "{ tools { totalCount } }" }, authorization);
  expect([graphRefused.status, Number(graphRefused.headers.get("retry-after")) > 0]).toEqual([429, true]);
  // Another field is another endpoint.
  expect((await post("/graphql", { query: "{ me { id } }" }, authorization)).status).toBe(200);
});

test("the routes by which people log in have limits of their own, for each address and whatever is sent to them", async () => {
  const answers = [];
  for (let i = 0; i < 2; i++) answers.push(await post("/api/v1/auth/refresh", { refresh_token: `none-${i}` }));
  answers.push(await post("/api/v1/auth/refresh", { nonsense: true }));
  expect(answers.map(({ status }) => status)).toEqual([401, 429, 429]);
  expect(policiesOf(answers[1] as Response)).toContainEqual(["refreshSession", "1", "15"]);
  const aliased = await post("/graphql", {
    query:
      'mutation { a: refreshSession(refreshToken: "x") { accessToken } b: refreshSession(refreshToken: "y") { accessToken } }',
  });
  expect(aliased.status).toBe(429);
});
