import { generateKeyPairSync } from "node:crypto";
import { ToolyardError } from "@toolyard/service-kit";
import { startGitHubServer, type GitHubServer } from "@toolyard/testing/github-server.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createGitHubClient, createPathFilter, openSnapshot, parseGitHubConfig } from "./index.ts";

let server: GitHubServer;
beforeEach(async () => {
  server = await startGitHubServer({
    "acme/weather": {
      main: {
        "README.md": "# Weather",
        "docs/one.md": "one",
        "docs/deep/two.md": "two",
        "docs/logo.png": Buffer.from([0, 1, 2]),
        "src/index.ts": "code",
      },
    },
  });
});
afterEach(() => server[Symbol.asyncDispose]());

const { signal } = new AbortController();
const repository = { owner: "acme", name: "weather", revision: "refs/heads/main" };
let time = 0;

function client(env: Record<string, string> = { GITHUB_TOKEN: "ghp_secret" }) {
  return createGitHubClient({
    config: parseGitHubConfig({ GITHUB_API_URL: server.url, ...env }),
    now: () => time,
  });
}

async function refusalOf(work: Promise<unknown>): Promise<ToolyardError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (error instanceof ToolyardError) return error;
  throw new Error(`no ToolyardError but ${String(error)}`);
}

describe("a snapshot of a branch", () => {
  test("lists the files that patterns mean, and asks for no folder that cannot hold one", async () => {
    const snapshot = await openSnapshot(client(), repository, signal);
    expect(snapshot.commitSha).toBe(server.commitOf("acme/weather", "main"));
    const listed = await snapshot.list("", createPathFilter(["*.md", "docs/**"]), 100);
    expect(listed.map(({ path }) => path)).toEqual(["README.md", "docs/deep/two.md", "docs/logo.png", "docs/one.md"]);
    expect(server.requests.map(({ query }) => query).join()).not.toContain(":src");
  });

  test("lists a folder's files by their paths from there", async () => {
    const snapshot = await openSnapshot(client(), repository, signal);
    const listed = await snapshot.list("docs", createPathFilter(["*.md"]), 100);
    expect(listed.map(({ path }) => path)).toEqual(["docs/one.md"]);
    expect(await snapshot.list("elsewhere", createPathFilter(["**"]), 100)).toEqual([]);
  });

  test("reads texts, and says of a file that is none that it is none", async () => {
    const snapshot = await openSnapshot(client(), repository, signal);
    const files = await snapshot.list("docs", createPathFilter(["**"]), 100);
    const read: Record<string, string | null> = {};
    for await (const { file, text } of snapshot.read(files)) read[file.path] = text;
    expect(read).toEqual({
      "docs/one.md": "one",
      "docs/deep/two.md": "two",
      "docs/logo.png": null,
    });
  });

  test("refuses more files than are wanted", async () => {
    const snapshot = await openSnapshot(client(), repository, signal);
    expect((await refusalOf(snapshot.list("", createPathFilter(["**"]), 2))).message).toContain("more than 2");
  });

  test("tells a branch and a repository that are not there from each other", async () => {
    const noBranch = await refusalOf(openSnapshot(client(), { ...repository, revision: "refs/heads/gone" }, signal));
    expect([noBranch.code, noBranch.message]).toEqual(["NOT_FOUND", expect.stringContaining('no branch "gone"')]);
    const noRepository = await refusalOf(openSnapshot(client(), { ...repository, name: "none" }, signal));
    expect([noRepository.code, noRepository.message]).toEqual(["NOT_FOUND", expect.stringContaining("acme/none")]);
  });
});

describe("GitHub's limits", () => {
  const limit = (status: number, headers: Record<string, string>, message = "limit") =>
    server.refusals.push({ status, headers, body: { message } });

  test.each([
    ["Retry-After", 403, { "retry-after": "17" }, "x", 17],
    ["x-ratelimit-reset", 403, { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "120" }, "x", 120],
    ["a status alone", 429, {}, "x", 60],
    ["a secondary limit's words", 403, {}, "You have exceeded a secondary rate limit.", 60],
  ])("%s says how long nothing is asked", async (_name, status, headers, message, seconds) => {
    time = 0;
    const github = client();
    limit(status, headers, message);
    const first = await refusalOf(openSnapshot(github, repository, signal));
    expect([first.code, first.extensions["retryAfterSeconds"]]).toEqual(["RATE_LIMITED", seconds]);
    time = (seconds - 1) * 1_000;
    const again = await refusalOf(openSnapshot(github, repository, signal));
    expect([again.code, again.extensions["retryAfterSeconds"]]).toEqual(["RATE_LIMITED", 1]);
    expect(server.requests).toHaveLength(1);
    time = seconds * 1_000;
    await openSnapshot(github, repository, signal);
  });

  test("the last request that was left is answered, and no other follows", async () => {
    time = 0;
    const github = client();
    server.refusals.push({
      status: 200,
      headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "30" },
      body: { data: { repository: { name: "weather", owner: { login: "acme" }, object: { oid: "abc" } } } },
    });
    const snapshot = await openSnapshot(github, repository, signal);
    expect((await refusalOf(snapshot.list("", createPathFilter(["*"]), 9))).code).toBe("RATE_LIMITED");
    expect(server.requests).toHaveLength(1);
  });

  test("a limit that only the answer's errors name counts, and longer each time", async () => {
    time = 0;
    const github = client();
    const body = { data: null, errors: [{ type: "RATE_LIMITED", message: "API rate limit exceeded" }] };
    server.refusals.push({ status: 200, body });
    const first = await refusalOf(openSnapshot(github, repository, signal));
    expect(first.extensions["retryAfterSeconds"]).toBe(60);
    time = 60_000;
    limit(429, {});
    expect((await refusalOf(openSnapshot(github, repository, signal))).extensions["retryAfterSeconds"]).toBe(120);
  });
});

describe("credentials", () => {
  test("a token is sent as a bearer, and is in no error", async () => {
    await openSnapshot(client(), repository, signal);
    expect(server.requests[0]?.headers.authorization).toBe("bearer ghp_secret");
    server.refusals.push({ status: 401, body: { message: "Bad credentials" } });
    const refused = await refusalOf(openSnapshot(client(), repository, signal));
    expect(refused.code).toBe("PRECONDITION_FAILED");
    expect(JSON.stringify([refused.message, refused.extensions, refused.cause ?? null])).not.toContain("ghp_secret");
  });

  test("an App's installation reads the one repository's contents", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const github = client({ GITHUB_APP_ID: "12", GITHUB_APP_PRIVATE_KEY: pem.replaceAll("\n", "\\n") });
    time = Date.now();
    await openSnapshot(github, repository, signal);
    const [installation, token, query] = server.requests;
    expect(installation?.path).toBe("/repos/acme/weather/installation");
    expect(JSON.parse(token?.query ?? "")).toEqual({ repositories: ["weather"], permissions: { contents: "read" } });
    expect(query?.headers.authorization).toBe("bearer ghs_installation");
  });

  test("an App's installation is found over the redirect of a renamed repository", async () => {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const github = client({ GITHUB_APP_ID: "12", GITHUB_APP_PRIVATE_KEY: pem });
    time = Date.now();
    const location = `${server.url}/repositories/3/installation`;
    server.refusals.push({ status: 301, headers: { location }, body: { message: "Moved Permanently" } });
    await openSnapshot(github, repository, signal);
    expect(server.requests.map(({ path }) => path)).toContain("/repositories/3/installation");
  });

  test("a repository that was transferred to a name that the operator does not list is not read", async () => {
    server.repositories.set("evil/weather", server.repositories.get("acme/weather") ?? {});
    server.renames.set("acme/weather", "evil/weather");
    const refused = await refusalOf(
      openSnapshot(client({ GITHUB_TOKEN: "x", GITHUB_REPOSITORIES: "acme/*" }), repository, signal),
    );
    expect([refused.code, refused.message]).toEqual(["PRECONDITION_FAILED", expect.stringContaining("evil/weather")]);
  });

  test("without one, the refusal names the variables", async () => {
    const refused = await refusalOf(openSnapshot(client({}), repository, signal));
    expect([refused.code, refused.message]).toEqual(["PRECONDITION_FAILED", expect.stringContaining("GITHUB_TOKEN")]);
  });

  test("only repositories that the operator names are read, where some are named", async () => {
    const named = (names: string) => client({ GITHUB_TOKEN: "x", GITHUB_REPOSITORIES: names });
    await openSnapshot(named("Acme/Weather"), repository, signal);
    await openSnapshot(named("other/x,acme/*"), repository, signal);
    const refused = await refusalOf(openSnapshot(named("acme/weathe,acm/*"), repository, signal));
    expect(refused.message).toContain("GITHUB_REPOSITORIES");
    expect(server.requests).toHaveLength(2);
  });
});

test("a cancelled reading ends with the reason", async () => {
  const abort = new AbortController();
  const reason = new Error("no longer wanted");
  server.onQuery = () => abort.abort(reason);
  await expect(openSnapshot(client(), repository, abort.signal)).rejects.toBe(reason);
});

test("of an answer that is too large, no more is read than it may have", async () => {
  const [mebi, all] = [1_048_576, 128];
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      controller.enqueue(new Uint8Array(mebi).fill(0x20));
      if (++sent === all) controller.close();
    },
  });
  const large = createGitHubClient({
    config: parseGitHubConfig({ GITHUB_TOKEN: "ghp_secret" }),
    fetch: async () => new Response(body, { headers: { "content-type": "application/json" } }),
  });
  const ask = await large.open(repository, signal);
  expect(await refusalOf(ask("query { viewer { login } }", {}, signal))).toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
  });
  expect(sent).toBeLessThan(all / 2);
});

test("an error that says the request again does not show the credential", async () => {
  const message = "Cannot read: authorization was bearer ghp_secret";
  const echoing = createGitHubClient({
    config: parseGitHubConfig({ GITHUB_TOKEN: "ghp_secret" }),
    fetch: async () => Response.json({ data: null, errors: [{ message, type: "FORBIDDEN" }] }),
  });
  const ask = await echoing.open(repository, signal);
  const refused = await refusalOf(ask("query { viewer { login } }", {}, signal));
  expect(refused.message).toContain("Cannot read: authorization was bearer …");
});
