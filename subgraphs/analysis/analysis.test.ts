import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { ToolyardError, anonymous, createLogger, createServiceCaller, createUserCaller } from "@toolyard/service-kit";
import { TASK_STATUSES } from "@toolyard/tasks";
import { codeOf, dataOf, eventually, executeOn, subscribeOn } from "@toolyard/testing";
import { startGitHubServer } from "@toolyard/testing/github-server.ts";
import { describe, expect, test } from "vitest";
import { parseAnalysisConfig } from "./config.ts";
import { createFakeGraph, fakeTool, stdioLaunch } from "./fixtures/graph.ts";
import { TASK, ended, withAnalysis, type ShownTask } from "./fixtures/subgraph.ts";
import { createStores } from "@toolyard/subgraph-host";
import { createAnalysisSubgraph } from "./index.ts";

const author = createUserCaller("author", "DEVELOPER");
const stranger = createUserCaller("stranger", "DEVELOPER");
const admin = createUserCaller("admin", "ADMIN");
const viewer = createUserCaller("viewer", "VIEWER");

const FEASIBILITY = `mutation ($input: FeasibilityInput!) { task: analyzeFeasibility(input: $input) { id status } }`;
const IMPROVEMENTS = `mutation ($toolId: ID!) { task: suggestImprovements(toolId: $toolId) { id status } }`;
const CONFIG = `mutation ($input: GenerateConfigInput!) { task: generateConfig(input: $input) { id status } }`;
const CANCEL = `mutation ($id: ID!) { task: cancelTask(id: $id) { id status } }`;

describe("analyzeFeasibility", () => {
  test("answers a queued task at once, whose report comes by itself, with quotes from the tool's documents", () =>
    withAnalysis(async (fixture) => {
      const content = "# Weather\n\nThe forecast covers fourteen days. It asks the national weather services hourly.\n";
      fixture.graph.documents = [{ id: "document-1", title: "README", content }];
      const requirements = ["Forecast for fourteen days", "Book a table at a restaurant"];
      const task = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1", requirements } }, author);
      expect(task).toMatchObject({
        status: "SUCCEEDED",
        progress: 1,
        toolId: "tool-1",
        tool: { id: "tool-1" },
        requestedBy: { id: "author" },
      });
      const { result } = task;
      expect(result).toMatchObject({ __typename: "FeasibilityReport", provider: "rules" });
      expect(result.score).toBeGreaterThan(0.3);
      expect(result.score).toBeLessThan(0.8);
      expect(result.summary).toMatch("1 of 2 requirements are covered");
      expect(result.requirements.slice(0, 2)).toEqual(requirements);
      expect(result.requirements).toContain("npx on the host");
      expect(result.risks.find(({ title }) => title.startsWith("Covered: Forecast"))?.citations[0]).toEqual({
        documentId: "document-1",
        quote: "The forecast covers fourteen days.",
        document: { id: "document-1" },
      });
      expect(result.risks.find(({ title }) => title.startsWith("Not covered: Book"))?.severity).toBe("HIGH");
    }));

  test("reads the evidence as the service principal, not as the user", () =>
    withAnalysis(async (fixture) => {
      await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      const [asked, ...later] = fixture.graph.callers.map(({ subject }) => subject);
      expect(asked).toBe("author");
      expect(later.length).toBeGreaterThan(0);
      expect(new Set(later)).toEqual(new Set(["service:analysis"]));
    }));

  test("judges a description without a tool", () =>
    withAnalysis(async (fixture) => {
      const description = "Searches issues on GitHub. Started by `npx -y @acme/issues@2.0.1`.";
      const task = await ended(
        fixture,
        FEASIBILITY,
        { input: { description, requirements: ["Search issues"] } },
        stranger,
      );
      expect(task.result).toMatchObject({ feasible: true, score: 1 });
      expect(task.result.requirements).toContain("@acme/issues from npm, or a cache of it");
    }));

  test("the same evidence gives the same report", () =>
    withAnalysis(async (fixture) => {
      const input = { toolId: "tool-1", requirements: ["weather of a city"] };
      const first = await ended(fixture, FEASIBILITY, { input }, author);
      const second = await ended(fixture, FEASIBILITY, { input }, author);
      expect(second.result).toEqual(first.result);
    }));

  test("a part of the graph that is away costs its part of the evidence, and the report says so", () =>
    withAnalysis(async (fixture) => {
      fixture.graph.away.add("documents").add("usage");
      const task = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      expect(task.status).toBe("SUCCEEDED");
      expect(task.result.summary).toMatch(/did not answer: documents, usage/);
      expect(task.result.risks.map(({ title }) => title)).not.toContain("No documentation");
    }));

  test("while the tools subgraph is away the task is tried again", () =>
    withAnalysis(async (fixture) => {
      let asked = 0;
      fixture.graph.before = async ({ query }) => {
        if (query.includes("ToolEvidence") && ++asked === 1)
          throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The tools subgraph does not answer.");
      };
      const task = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      expect(task).toMatchObject({ status: "SUCCEEDED", attempts: 2 });
    }));

  test("a tool that is deleted before its turn fails the task with NOT_FOUND", () =>
    withAnalysis(async (fixture) => {
      fixture.graph.before = async ({ query }) => {
        if (query.includes("ToolEvidence")) fixture.graph.tools.clear();
      };
      const task = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      expect(task).toMatchObject({ status: "FAILED", attempts: 1, error: { code: "NOT_FOUND" }, result: null });
    }));

  test("a value of the environment reaches neither the report nor the stored task", () =>
    withAnalysis(async (fixture) => {
      const env = [
        { name: "GITHUB_TOKEN", value: "hunter2-plain", secret: false },
        { name: "API_KEY", value: "${config.apiKey}", secret: false },
      ];
      fixture.graph.tools.set("tool-1", fakeTool({ launch: stdioLaunch({ env }) }));
      const task = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      const titles = task.result.risks.map(({ severity, title }) => `${severity} ${title}`);
      expect(titles).toContain("HIGH GITHUB_TOKEN is not marked secret");
      expect(titles.join()).not.toMatch("API_KEY");
      const [stored] = await fixture.tasks.store.getMany([task.id]);
      expect(JSON.stringify([task, stored])).not.toMatch("hunter2");
    }));
});

describe("input", () => {
  test.each([
    ["neither a tool nor a description", FEASIBILITY, { input: {} }, "input"],
    ["both a tool and a description", FEASIBILITY, { input: { toolId: "tool-1", description: "x" } }, "input"],
    ["an empty description", FEASIBILITY, { input: { description: "  " } }, "input.description"],
    ["an empty requirement", FEASIBILITY, { input: { description: "x", requirements: [""] } }, "input.requirements.0"],
    [
      "too many requirements",
      FEASIBILITY,
      { input: { description: "x", requirements: Array(51).fill("a") } },
      "input.requirements",
    ],
    ["nothing to configure", CONFIG, { input: {} }, "input"],
    ["two things to configure", CONFIG, { input: { repository: "a/b", description: "x" } }, "input"],
    ["a repository that is none", CONFIG, { input: { repository: "https://github.com/a/b" } }, "input.repository"],
  ])("%s is BAD_USER_INPUT with the place of the problem", (_, document, variables, path) =>
    withAnalysis(async ({ subgraph }) => {
      const { errors } = await executeOn(subgraph, document, variables, author);
      expect(errors[0]).toMatchObject({ code: "BAD_USER_INPUT", extensions: { problems: [{ path }] } });
    }, false),
  );

  test("an unknown or deleted tool is NOT_FOUND and queues nothing", () =>
    withAnalysis(async ({ subgraph, graph, tasks }) => {
      graph.tools.set("gone", fakeTool({ id: "gone", deletedAt: "2026-01-01T00:00:00.000Z" }));
      for (const toolId of ["unknown", "gone"]) {
        expect(await codeOf(subgraph, FEASIBILITY, { input: { toolId } }, author)).toBe("NOT_FOUND");
        expect(await codeOf(subgraph, IMPROVEMENTS, { toolId }, admin)).toBe("NOT_FOUND");
      }
      expect((await tasks.store.countByStatus()).QUEUED).toBe(0);
    }, false));
});

describe("authorization", () => {
  const ofTool = { input: { toolId: "tool-1" } };
  const ofText = { input: { description: "A server." } };
  test.each([
    ["nobody in particular", anonymous, ofText, "UNAUTHENTICATED"],
    ["a viewer", viewer, ofText, "FORBIDDEN"],
    ["a viewer of a tool", viewer, ofTool, "FORBIDDEN"],
    ["a developer of somebody else's tool", stranger, ofTool, "FORBIDDEN"],
    ["a developer with a key for reading", createUserCaller("author", "DEVELOPER", ["READ"]), ofTool, "FORBIDDEN"],
    ["a service", createServiceCaller("proxy", []), ofText, "FORBIDDEN"],
    ["a developer of a description", stranger, ofText, null],
    ["the author", author, ofTool, null],
    ["an administrator", admin, ofTool, null],
  ])("%s may start an analysis or gets the code of why not", (_, caller, variables, code) =>
    withAnalysis(async ({ subgraph }) => {
      expect(await codeOf(subgraph, FEASIBILITY, variables, caller)).toBe(code);
      expect(await codeOf(subgraph, CONFIG, variables, caller)).toBe(code);
    }, false),
  );

  test.each([
    ["VIEW", stranger, "FORBIDDEN"],
    ["USE", stranger, "FORBIDDEN"],
    ["EDIT", stranger, null],
    ["EDIT", viewer, "FORBIDDEN"],
  ] as const)("a tool that is shared with %s is analysed by those whom that lets (%o)", (access, caller, code) =>
    withAnalysis(async ({ subgraph, graph }) => {
      graph.shared.set(caller.userId ?? "", access);
      expect(await codeOf(subgraph, FEASIBILITY, ofTool, caller)).toBe(code);
      expect(await codeOf(subgraph, IMPROVEMENTS, { toolId: "tool-1" }, caller)).toBe(code);
    }, false),
  );

  test("everybody who is logged in may read tasks, nobody else", () =>
    withAnalysis(async ({ subgraph, tasks }) => {
      const { id } = await tasks.enqueue({ kind: "FEASIBILITY", input: {}, requestedById: "author" });
      const READ = `query ($id: ID!) { task(id: $id) { id } tasks { totalCount } }`;
      expect(await dataOf(subgraph, READ, { id }, viewer)).toEqual({ task: { id }, tasks: { totalCount: 1 } });
      expect(await codeOf(subgraph, READ, { id }, anonymous)).toBe("UNAUTHENTICATED");
      await expect(subscribeOn(subgraph, "subscription { taskUpdated { taskId } }")).rejects.toThrow("UNAUTHENTICATED");
    }, false));

  test("a task is cancelled by who asked for it or an administrator", () =>
    withAnalysis(async ({ subgraph, tasks }) => {
      const task = { kind: "FEASIBILITY", input: {}, requestedById: "author", ownerId: "stranger" } as const;
      const [first, second] = [await tasks.enqueue(task), await tasks.enqueue(task)];
      expect(await codeOf(subgraph, CANCEL, { id: first.id }, anonymous)).toBe("UNAUTHENTICATED");
      expect(await codeOf(subgraph, CANCEL, { id: first.id }, stranger)).toBe("FORBIDDEN");
      expect(await codeOf(subgraph, CANCEL, { id: "unknown" }, admin)).toBe("NOT_FOUND");
      for (const [caller, { id }] of [[author, first] as const, [admin, second] as const])
        expect(await dataOf(subgraph, CANCEL, { id }, caller)).toEqual({ task: { id, status: "CANCELLED" } });
    }, false));
});

describe("suggestImprovements and generateConfig", () => {
  test("suggestions come with the tool's launch in mind", () =>
    withAnalysis(async (fixture) => {
      fixture.graph.tools.set("tool-1", fakeTool({ launch: stdioLaunch({ args: ["-y", "@acme/weather-server"] }) }));
      const task = await ended(fixture, IMPROVEMENTS, { toolId: "tool-1" }, author);
      expect(task.result).toMatchObject({ __typename: "ImprovementReport", provider: "rules" });
      expect(task.result.suggestions.map(({ title }) => title)).toContain("The package floats");
    }));

  test("a configuration from a description has a launch and a schema", () =>
    withAnalysis(async (fixture) => {
      const description = "Run `uvx mcp-server-github==1.2.0`; it needs GITHUB_TOKEN.";
      const task = await ended(fixture, CONFIG, { input: { description } }, stranger);
      expect(task.result.launch).toMatchObject({
        __typename: "StdioLaunch",
        command: "uvx",
        args: ["mcp-server-github==1.2.0"],
        env: [{ name: "GITHUB_TOKEN", value: "${config.githubToken}", secret: false }],
      });
      expect(task.result.configSchema.properties.githubToken).toMatchObject({ type: "string", writeOnly: true });
    }));

  const README = "# Weather\n\nSet WEATHER_API_KEY, and run it with `docker run acme/weather`.";
  test.each([
    [
      "a Node package",
      { "package.json": `{ "name": "@acme/weather", "version": "1.2.0", "bin": "main.js" }`, "README.md": README },
      { command: "npx", args: ["-y", "@acme/weather@1.2.0"] },
    ],
    [
      "a Python package",
      {
        "pyproject.toml": `[project]\nname = "weather-mcp"\nversion = "2.0"\n[tool.x]\nname = "no"`,
        "Readme.md": README,
      },
      { command: "uvx", args: ["weather-mcp==2.0"] },
    ],
  ])("a repository with %s is read, and says what it takes", async (_what, files, launch) => {
    await using github = await startGitHubServer({ "acme/weather": { main: files } });
    await withAnalysis(
      async (fixture) => {
        const { result } = await ended(fixture, CONFIG, { input: { repository: "acme/weather" } }, stranger);
        expect(result.launch).toMatchObject(launch);
        expect(result.configSchema.properties["weatherApiKey"]).toMatchObject({ writeOnly: true });
        expect(result.explanation).toContain("of acme/weather at");
      },
      true,
      { GITHUB_API_URL: github.url, GITHUB_TOKEN: "t" },
    );
  });

  test("a repository that is private, empty, away or says nothing is refused with what to do", async () => {
    await using github = await startGitHubServer({
      "acme/private": { main: { "README.md": README } },
      "acme/empty": {},
      "acme/silent": { main: { "src/main.ts": "" } },
    });
    github.privates.add("acme/private");
    const env = { GITHUB_API_URL: github.url, GITHUB_TOKEN: "t" };
    await withAnalysis(
      async (fixture) => {
        for (const [repository, code, words] of [
          ["acme/private", "PRECONDITION_FAILED", "is private"],
          ["acme/empty", "NOT_FOUND", "is empty"],
          ["acme/silent", "NOT_FOUND", "Describe the server instead"],
          ["acme/none", "NOT_FOUND", "no repository acme/none"],
        ]) {
          const { error, attempts } = await ended(fixture, CONFIG, { input: { repository } }, stranger);
          expect([error?.code, attempts]).toEqual([code, 1]);
          expect(error?.message).toContain(words);
        }
      },
      true,
      env,
    );
    await withAnalysis(async (fixture) => {
      const { error } = await ended(fixture, CONFIG, { input: { repository: "acme/silent" } }, stranger);
      expect(error).toMatchObject({ code: "PRECONDITION_FAILED", message: expect.stringContaining("GITHUB_TOKEN") });
    });
  });
});

describe("reading tasks", () => {
  test("tasks page newest first by cursor and offset, with filters; an unknown task is null", () =>
    withAnalysis(async ({ subgraph, tasks, graph }) => {
      graph.tools.set("weather", fakeTool({ id: "a" }));
      const ids: string[] = [];
      for (const [kind, toolId] of [
        ["FEASIBILITY", "a"],
        ["IMPROVEMENTS", "a"],
        ["SMOKE_TEST", "b"],
      ] as const)
        ids.unshift((await tasks.enqueue({ kind, input: {}, requestedById: null, toolId })).id);
      const PAGE = `query ($first: Int, $after: String, $offset: Int, $kind: TaskKind, $status: TaskStatus, $toolId: ID) {
        tasks(first: $first, after: $after, offset: $offset, kind: $kind, status: $status, toolId: $toolId) {
          totalCount pageInfo { hasNextPage endCursor } edges { node { id } } } }`;
      const read = async (variables: Record<string, unknown>) => {
        const { tasks: page } = await dataOf<{
          tasks: {
            totalCount: number;
            pageInfo: { hasNextPage: boolean; endCursor: string };
            edges: { node: { id: string } }[];
          };
        }>(subgraph, PAGE, variables, viewer);
        return { ...page, ids: page.edges.map(({ node }) => node.id) };
      };
      const first = await read({ first: 2 });
      expect(first).toMatchObject({ ids: ids.slice(0, 2), totalCount: 3, pageInfo: { hasNextPage: true } });
      expect(await read({ first: 2, after: first.pageInfo.endCursor })).toMatchObject({
        ids: ids.slice(2),
        pageInfo: { hasNextPage: false },
      });
      expect((await read({ offset: 1 })).ids).toEqual(ids.slice(1));
      expect((await read({ kind: "SMOKE_TEST" })).ids).toEqual(ids.slice(0, 1));
      expect((await read({ toolId: "weather", status: "QUEUED" })).ids).toEqual(ids.slice(1));
      expect((await read({ status: "FAILED" })).ids).toEqual([]);
      expect(await codeOf(subgraph, PAGE, { first: 101 }, viewer)).toBe("BAD_USER_INPUT");
      expect(await dataOf(subgraph, `{ task(id: "unknown") { id } }`, {}, viewer)).toEqual({ task: null });
    }, false));

  test("tools and tasks are resolved as entities, a tool with its tasks", () =>
    withAnalysis(async ({ subgraph, tasks }) => {
      const { id } = await tasks.enqueue({ kind: "FEASIBILITY", input: {}, requestedById: null, toolId: "tool-1" });
      await tasks.enqueue({ kind: "FEASIBILITY", input: {}, requestedById: null, toolId: "tool-2" });
      const representations = [
        { __typename: "Tool", id: "tool-1" },
        { __typename: "Task", id },
        { __typename: "Task", id: "unknown" },
      ];
      const ENTITIES = `query ($representations: [_Any!]!) { _entities(representations: $representations) {
        ... on Tool { id tasks(kind: FEASIBILITY) { totalCount edges { node { id } } } } ... on Task { id kind } } }`;
      expect(await dataOf(subgraph, ENTITIES, { representations }, viewer)).toEqual({
        _entities: [
          { id: "tool-1", tasks: { totalCount: 1, edges: [{ node: { id } }] } },
          { id, kind: "FEASIBILITY" },
          null,
        ],
      });
    }, false));

  test("results of other subgraphs' kinds are shown by their kind, with links as entities", () =>
    withAnalysis(async ({ subgraph, tasks }) => {
      const finding = { title: "t", detail: "d", severity: "LOW", location: null, citations: [] };
      const severitySummary = { critical: 0, high: 0, medium: 0, low: 1, info: 0 };
      const results = {
        REPOSITORY_SYNC: { commitSha: "abc", toolVersionId: "v1", documentIds: ["d1"], warnings: [] },
        SECURITY_SCAN: {
          gitRef: null,
          digest: null,
          findings: [finding],
          severitySummary,
          scanners: [{ name: "s", ran: true }],
        },
        SMOKE_TEST: {
          environment: "STAGING",
          suite: "BASIC",
          passed: true,
          tests: [{ name: "t", status: "PASSED", durationMs: 1 }],
        },
        VALIDATION: { valid: true, checks: [{ name: "c", status: "SKIPPED" }], blockers: [], warnings: [] },
      } as const;
      const READ = `query ($id: ID!) { task(id: $id) { status result { __typename
        ... on SyncReport { commitSha toolVersionId toolVersion { id } documents { id } }
        ... on ScanReport { findings { severity } severitySummary { low } scanners { name ran reason } }
        ... on SmokeReport { passed tests { name status } } ... on ValidationReport { valid checks { name status detail } } } } }`;
      const seen: Record<string, unknown> = {};
      for (const [kind, result] of Object.entries(results)) {
        // The keys of the literal above are kinds.
        const worker = tasks.register(kind as keyof typeof results, async () => result);
        const { id } = await tasks.enqueue({ kind: kind as keyof typeof results, input: {}, requestedById: null });
        seen[kind] = await eventually("its result", async () => {
          const { task } = await dataOf<{ task: ShownTask }>(subgraph, READ, { id }, viewer);
          return task.status === "SUCCEEDED" && task.result;
        });
        await worker.close();
      }
      expect(seen).toMatchObject({
        REPOSITORY_SYNC: { __typename: "SyncReport", toolVersion: { id: "v1" }, documents: [{ id: "d1" }] },
        SECURITY_SCAN: { __typename: "ScanReport", severitySummary: { low: 1 } },
        SMOKE_TEST: { __typename: "SmokeReport", passed: true },
        VALIDATION: { __typename: "ValidationReport", checks: [{ name: "c", status: "SKIPPED", detail: null }] },
      });
    }, false));

  test("gauges count tasks by status, health names the queue", () =>
    withAnalysis(async ({ subgraph, tasks }) => {
      const counted = (name: string, counts: Record<string, number>) =>
        TASK_STATUSES.map(
          (status) => expect.objectContaining({ name, labels: { status }, value: counts[status] ?? 0 }) as unknown,
        );
      const gauges = async () => ((await subgraph.gauges?.()) ?? []).filter(({ name }) => name.includes("tasks"));
      const { id } = await tasks.enqueue({ kind: "SMOKE_TEST", input: {}, requestedById: null });
      expect(await gauges()).toEqual([
        ...counted("tasks", { QUEUED: 1 }),
        ...counted("tasks_total", { QUEUED: 1 }),
        ...counted("celery_tasks_total", { QUEUED: 1 }),
      ]);
      await tasks.cancel(id);
      expect(await gauges()).toEqual([
        ...counted("tasks", { CANCELLED: 1 }),
        ...counted("tasks_total", { QUEUED: 1, CANCELLED: 1 }),
        ...counted("celery_tasks_total", { QUEUED: 1, CANCELLED: 1 }),
      ]);
      expect(await subgraph.health()).toMatchObject([
        { name: "jobs", status: "healthy" },
        { name: "queue", status: "healthy" },
      ]);
    }));
});

test("what was accepted before the process ended is done by the next one, each with a queue of its own", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-analysis-"));
  const logger = createLogger({ level: "silent", name: "test" });
  const open = async () => {
    const stores = createStores({ dataDir, bus: createInProcessBus(), logger });
    const graph = createFakeGraph();
    const subgraph = await createAnalysisSubgraph({
      config: parseAnalysisConfig({}),
      logger,
      graph,
      secretKeys: [],
      dataDir,
      stores,
    });
    return { ...subgraph, close: () => subgraph.close().then(() => stores.close()) };
  };
  try {
    const first = await open();
    const input = { toolId: "tool-1" };
    const { task } = await dataOf<{ task: { id: string } }>(first, FEASIBILITY, { input }, author);
    await first.close();
    const second = await open();
    await second.start();
    const READ = `query ($id: ID!) { task(id: $id) { status attempts } }`;
    await expect
      .poll(() => dataOf(second, READ, { id: task.id }, author))
      .toEqual({ task: { status: "SUCCEEDED", attempts: 1 } });
    await second.close();
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});

describe("taskUpdated", () => {
  interface Update {
    taskUpdated: { sequence: string; taskId: string; status: string; progress: number; task: ShownTask };
  }
  const UPDATES = `subscription ($id: ID, $after: String) {
    taskUpdated(id: $id, after: $after) { sequence at taskId status progress message task { ${TASK} } } }`;

  test("shows each change of a task live, up to its result", () =>
    withAnalysis(async ({ subgraph }) => {
      await using updates = await subscribeOn<Update>(subgraph, UPDATES, {}, viewer);
      const first = updates.next();
      const { task } = await dataOf<{ task: { id: string } }>(
        subgraph,
        FEASIBILITY,
        { input: { toolId: "tool-1" } },
        author,
      );
      const seen: Update["taskUpdated"][] = [];
      for (let step = await first; !step.done; step = await updates.next()) {
        expect(step.value.errors).toEqual([]);
        if (step.value.data) seen.push(step.value.data.taskUpdated);
        if (seen.at(-1)?.status === "SUCCEEDED") break;
      }
      expect(seen[0]).toMatchObject({ taskId: task.id, status: "QUEUED", progress: 0 });
      expect(seen.map(({ status }) => status)).toContain("RUNNING");
      expect(seen.at(-1)).toMatchObject({
        progress: 1,
        task: { id: task.id, status: "SUCCEEDED", result: { provider: "rules" } },
      });
    }));

  test("with `after` it goes on where a client left off, for one task only, missing and repeating nothing", () =>
    withAnalysis(async (fixture) => {
      const { subgraph, tasks } = fixture;
      const other = await tasks.enqueue({ kind: "SMOKE_TEST", input: {}, requestedById: null });
      const { id } = await ended(fixture, FEASIBILITY, { input: { toolId: "tool-1" } }, author);
      const read = async (after: string) => {
        const seen: Update["taskUpdated"][] = [];
        for await (const { data } of await subscribeOn<Update>(subgraph, UPDATES, { id, after }, viewer)) {
          if (data) seen.push(data.taskUpdated);
          if (data?.taskUpdated.status === "SUCCEEDED") break;
        }
        return seen;
      };
      const all = await read("0");
      expect(all.map(({ status }) => status).filter((status) => status !== "RUNNING")).toEqual(["QUEUED", "SUCCEEDED"]);
      expect(all.every(({ taskId }) => taskId === id && taskId !== other.id)).toBe(true);
      expect(await read(all[0]?.sequence ?? "")).toEqual(all.slice(1));
    }));

  test("an unknown task or a position that is none is refused", () =>
    withAnalysis(async ({ subgraph }) => {
      await expect(subscribeOn(subgraph, UPDATES, { id: "unknown" }, viewer)).rejects.toThrow("NOT_FOUND");
      const updates = await subscribeOn<Update>(subgraph, UPDATES, { after: "soon" }, viewer);
      await expect(updates.next()).rejects.toThrow("after");
    }, false));

  test("a running task is cancelled by its requester, and the change is seen", () =>
    withAnalysis(async ({ subgraph, graph }) => {
      const waiting = Promise.withResolvers<void>();
      graph.before = ({ query, signal }) => {
        if (!query.includes("ToolEvidence")) return Promise.resolve();
        waiting.resolve();
        return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      };
      const { task } = await dataOf<{ task: { id: string } }>(
        subgraph,
        FEASIBILITY,
        { input: { toolId: "tool-1" } },
        author,
      );
      await waiting.promise;
      await using updates = await subscribeOn<Update>(subgraph, UPDATES, { id: task.id, after: "0" }, viewer);
      expect(await dataOf(subgraph, CANCEL, { id: task.id }, author)).toEqual({
        task: { id: task.id, status: "RUNNING" },
      });
      let last = "";
      while (last !== "CANCELLED") {
        const step = await updates.next();
        if (step.done) break;
        last = step.value.data?.taskUpdated.status ?? "";
      }
      expect(last).toBe("CANCELLED");
    }));
});
