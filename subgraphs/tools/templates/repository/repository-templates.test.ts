import { createServiceCaller } from "@toolyard/service-kit";
import { codeOf, dataOf, eventually } from "@toolyard/testing";
import { signedDelivery, startGitHubServer, type GitHubServer } from "@toolyard/testing/github-server.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseToolsConfig } from "../../config.ts";
import { admin, createToolsFixture, developer, viewer, type ToolsFixture } from "../../fixtures/subgraph.ts";

const SECRET = "a-webhook-secret-of-the-tests";
const gateway = createServiceCaller("gateway", ["internal:github-event"]);
const template = (name: string, more = "") => `name: ${name}
launch:
  stdio: { command: server, args: ["--a"] }
${more}`;

let github: GitHubServer;
let files: Record<string, string | Buffer>;
let fixture: ToolsFixture;

beforeEach(async () => {
  files = { "servers/weather.yaml": template("Weather"), "servers/README.md": "Ours", "other/x.yaml": template("X") };
  github = await startGitHubServer({ "acme/templates": { main: files } });
  fixture = await createToolsFixture({
    env: {
      GITHUB_API_URL: github.url,
      GITHUB_TOKEN: "t",
      GITHUB_WEBHOOK_SECRET: SECRET,
      GITHUB_REPOSITORIES: "acme/weather",
      TEMPLATE_REPOSITORY: "acme/templates/servers",
    },
  });
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
  await github[Symbol.asyncDispose]();
});

interface State {
  commitSha: string | null;
  checkedAt: string | null;
  lastError: string | null;
  problems: { file: string; line: number; path: string; message: string }[];
}

const state = async () =>
  (
    await dataOf<{ templateRepository: State | null }>(
      fixture.subgraph,
      "{ templateRepository { repository folder ref commitSha syncedAt checkedAt lastError problems { file line path message } } }",
      {},
      admin,
    )
  ).templateRepository;

const names = async () => {
  const { templates } = await dataOf<{
    templates: { edges: { node: { id: string; name: string; source: string } }[] };
  }>(fixture.subgraph, "{ templates(first: 100) { edges { node { id name source } } } }", {}, viewer);
  return Object.fromEntries(
    templates.edges.flatMap(({ node }) => (node.source === "REPOSITORY" ? [[node.id, node.name]] : [])),
  ) as Record<string, string>;
};

let deliveries = 0;
async function push(payload: object = {}): Promise<void> {
  const whole = { ref: "refs/heads/main", repository: { full_name: "Acme/templates" }, n: deliveries++, ...payload };
  const { headers, body } = signedDelivery(SECRET, "push", whole);
  const input = {
    event: "push",
    deliveryId: headers["x-github-delivery"],
    signature: headers["x-hub-signature-256"],
    bodyBase64: Buffer.from(body).toString("base64"),
  };
  await dataOf(
    fixture.subgraph,
    "mutation ($input: GitHubEventInput!) { receiveGitHubEvent(input: $input) }",
    { input },
    gateway,
  );
}

const commit = () => github.commitOf("acme/templates", "main");
const readCommit = () => eventually("the commit's templates", async () => (await state())?.commitSha === commit());
const queries = (word: string) => github.requests.filter(({ query }) => query.includes(word)).length;
async function pushUntil(what: string, check: (state: State) => boolean): Promise<State> {
  return eventually(what, async () => {
    await push();
    const now = await state();
    return now && check(now) ? now : null;
  });
}

async function start(): Promise<void> {
  await fixture.subgraph.start();
  await readCommit();
}

describe("a repository of templates", () => {
  test("gives the templates of its folder, of which tools are made", async () => {
    await start();
    expect(await names()).toEqual({ weather: "Weather" });
    const { createToolFromTemplate } = await dataOf<{ createToolFromTemplate: object }>(
      fixture.subgraph,
      `mutation { createToolFromTemplate(templateId: "weather", input: {}) { templateId launch { ... on StdioLaunch { command } } } }`,
      {},
      developer,
    );
    expect(createToolFromTemplate).toEqual({ templateId: "weather", launch: { command: "server" } });
    expect(await state()).toMatchObject({ repository: "acme/templates", folder: "servers", ref: null, problems: [] });
  });

  test("is followed by pushes, and only what changed is read", async () => {
    files["servers/time.yaml"] = template("Time");
    await start();
    const before = queries("GitObjectID");
    delete files["servers/time.yaml"];
    files["servers/other.yaml"] = template("Other");
    await push({ ref: "refs/heads/main", commits: [{ added: ["servers/other.yaml"], removed: [], modified: [] }] });
    await readCommit();
    expect(await names()).toEqual({ weather: "Weather", other: "Other" });
    expect(queries("GitObjectID")).toBe(before + 1);
    expect(github.requests.at(-1)?.query.match(/\$v\d+: GitObjectID/g)).toHaveLength(1);
  });

  test("that has not changed is asked for its head alone", async () => {
    await start();
    const [{ checkedAt }, trees] = [(await state()) ?? { checkedAt: null }, queries("ToolyardObjects")];
    await pushUntil("a check", (now) => now.checkedAt !== checkedAt);
    expect(queries("ToolyardObjects")).toBe(trees);
  });

  test("is shown to administrators only", async () => {
    expect(await codeOf(fixture.subgraph, "{ templateRepository { repository } }", {}, developer)).toBe("FORBIDDEN");
    expect((await state())?.checkedAt).toBeNull();
    await using without = await createToolsFixture();
    expect(await dataOf(without.subgraph, "{ templateRepository { repository } }", {}, admin)).toEqual({
      templateRepository: null,
    });
  });

  test("has its way over a template of Toolyard's with the same id", async () => {
    files["servers/memory.yaml"] = template("Our memory");
    await start();
    const { template: found } = await dataOf<{ template: object }>(
      fixture.subgraph,
      `{ template(id: "memory") { name source } }`,
      {},
      viewer,
    );
    expect(found).toEqual({ name: "Our memory", source: "REPOSITORY" });
  });
});

describe("a file that is wrong", () => {
  test.each([
    ["YAML", "name: A\nlaunch: [", { line: 2, path: "" }],
    ["a launch", "name: A\nlaunch:\n  stdio:\n    comand: x", { line: 4, path: "launch.stdio" }],
    ["a schema", `${template("A")}configSchema: { type: 7 }`, { line: 4 }],
    ["text", Buffer.from([0, 1, 2]), { line: 1, message: "is no text" }],
    ["within bounds", template("A", `# ${"x".repeat(70_000)}`), { message: "must have at most 65536 bytes" }],
    [
      "free of aliases that multiply",
      `a: &a [${"1,".repeat(99)}1]\nb: &b [${"*a,".repeat(30)}*a]`,
      { message: expect.stringContaining("alias") },
    ],
    ["flat", `name: ${"[".repeat(60_000)}`, { message: "is nested too deeply" }],
  ])("since it is not %s is told of, and the others are there", async (_what, content, problem) => {
    files["servers/wrong.yaml"] = content;
    await start();
    expect(await names()).toEqual({ weather: "Weather" });
    expect((await state())?.problems).toContainEqual(expect.objectContaining({ file: "wrong.yaml", ...problem }));
  });

  test("leaves its template as it was, also over a restart, until it is right or gone", async () => {
    await start();
    files["servers/weather.yaml"] = "name: [";
    const broken = await pushUntil("the problem", ({ problems }) => problems.length > 0);
    expect(broken.problems[0]).toMatchObject({ file: "weather.yaml", line: 1 });
    expect(await names()).toEqual({ weather: "Weather" });
    await fixture.reopen();
    expect(await names()).toEqual({ weather: "Weather" });
    await fixture.subgraph.start();
    files["servers/weather.yaml"] = template("Weather 2");
    await pushUntil("its end", ({ problems }) => problems.length === 0);
    expect(await names()).toEqual({ weather: "Weather 2" });
  });
});

describe("when the repository cannot be read, its templates stay, over a restart too:", () => {
  test.each<[string, () => void, string]>([
    ["GitHub is away", () => (github.onQuery = () => Promise.reject(new Error("away"))), "GitHub"],
    ["it was deleted", () => github.repositories.delete("acme/templates"), "acme/templates"],
    [
      "it was transferred",
      () => {
        github.repositories.set("evil/templates", { main: { "servers/weather.yaml": template("Evil") } });
        github.repositories.delete("acme/templates");
        github.renames.set("acme/templates", "evil/templates");
      },
      "is evil/templates now",
    ],
    ["the folder was renamed", () => delete files["servers/weather.yaml"], 'The folder "servers"'],
    ["it is empty", () => github.repositories.set("acme/templates", {}), "is empty"],
  ])("%s", async (_what, spoil, words) => {
    await start();
    const { commitSha } = (await state()) ?? {};
    spoil();
    const { lastError } = await pushUntil("the error", (now) => now.lastError !== null);
    expect(lastError).toContain(words);
    await fixture.reopen();
    expect(await names()).toEqual({ weather: "Weather" });
    expect(await state()).toMatchObject({ commitSha, lastError });
  });
});

test("a tag or a commit pins the templates", async () => {
  await using pinned = await createToolsFixture({
    env: { GITHUB_API_URL: github.url, GITHUB_TOKEN: "t", TEMPLATE_REPOSITORY: `acme/templates/servers@${commit()}` },
  });
  await pinned.subgraph.start();
  const query = "{ templateRepository { ref commitSha } }";
  await expect
    .poll(() => dataOf(pinned.subgraph, query, {}, admin))
    .toEqual({
      templateRepository: { ref: commit(), commitSha: commit() },
    });
});

describe("TEMPLATE_REPOSITORY", () => {
  const parsed = (place: string) =>
    parseToolsConfig({ GITHUB_TOKEN: "t", TEMPLATE_REPOSITORY: place }).templateRepository;
  test.each([
    ["acme/templates", { owner: "acme", name: "templates", folder: "", ref: null }],
    ["acme/t/a/b@release/1", { owner: "acme", name: "t", folder: "a/b", ref: "release/1" }],
    ["acme/.github@v1.0", { owner: "acme", name: ".github", folder: "", ref: "v1.0" }],
  ])("may be %s", (place, expected) => expect(parsed(place)).toEqual(expected));
  test.each([
    "acme",
    "acme/",
    "acme/t/",
    "acme/t//x",
    "acme/t/../x",
    "acme/t@",
    "acme/t@a b",
    "https://github.com/a/b",
  ])("is not %s", (place) => expect(() => parsed(place)).toThrow("TEMPLATE_REPOSITORY"));
  test("needs a credential", () => {
    expect(() => parseToolsConfig({ TEMPLATE_REPOSITORY: "acme/t" })).toThrow("GITHUB_TOKEN");
  });
});
