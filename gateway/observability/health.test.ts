import { once } from "node:events";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createServer, type AddressInfo, type Server } from "node:net";
// oxlint-disable-next-line no-restricted-imports -- the program's own waits are watched
import { setTimeout as delay } from "node:timers/promises";
import type { ServiceHealth } from "@toolyard/service-kit";
import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { checkGraphql, checkHealth, checkHttp, checkRemoteSubgraph, checkSubgraph, reachSubgraphs } from "./health.ts";

vi.mock("node:timers/promises", { spy: true });

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  vi.resetAllMocks();
});

async function portOf(server: Server): Promise<number> {
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // A TCP server's address is never a pipe's string.
  return (server.address() as AddressInfo).port;
}
const served = async (answer: RequestListener) => `http://127.0.0.1:${await portOf(createHttpServer(answer))}`;
const answering = (status: number) => served((_request, response) => response.writeHead(status).end("{}"));

type Status = ServiceHealth["status"];
const health = (name: string, status: Status, essential = false, detail?: string): ServiceHealth => ({
  name,
  status,
  essential,
  responseTimeMs: 1,
  ...(detail !== undefined && { detail }),
});
const reportOf = (...found: ServiceHealth[]) => checkHealth({ checks: found.map((one) => async () => [one]) });

describe("the whole", () => {
  test.each<[string, Status, ServiceHealth[]]>([
    ["nothing is asked", "healthy", []],
    ["all are", "healthy", [health("a", "healthy", true), health("b", "healthy")]],
    ["one is degraded", "degraded", [health("a", "healthy", true), health("b", "degraded")]],
    ["an essential one is degraded", "degraded", [health("a", "degraded", true), health("b", "healthy")]],
    ["one is broken that is not essential", "degraded", [health("a", "healthy", true), health("b", "unhealthy")]],
    ["an essential one is broken", "unhealthy", [health("a", "unhealthy", true), health("b", "healthy")]],
    ["all are broken, none of them essential", "unhealthy", [health("a", "unhealthy"), health("b", "unhealthy")]],
  ])("when %s is %s", async (_when, status, found) => {
    expect((await reportOf(...found)).status).toBe(status);
  });

  test("has each part with its time and detail, and notes where there are any", async () => {
    const found = [health("a", "healthy"), health("b", "degraded", false, "It is slow.")];
    const report = await reportOf(...found);
    expect(report).toEqual({
      status: "degraded",
      timestamp: expect.any(String),
      services: {
        a: { status: "healthy", response_time_ms: 1, essential: false },
        b: { status: "degraded", response_time_ms: 1, essential: false, detail: "It is slow." },
      },
    });
    expect(await checkHealth({ checks: [], notes: ["Replicas are not isolated."] })).toMatchObject({
      notes: ["Replicas are not isolated."],
    });
    expect(await checkHealth({ checks: [], notes: [] })).not.toHaveProperty("notes");
  });

  test("asks all parts at once", async () => {
    const both = Promise.withResolvers<ServiceHealth[]>();
    const checks = [() => both.promise, async () => (both.resolve([health("a", "healthy")]), [])];
    expect((await checkHealth({ checks })).status).toBe("healthy");
  });

  const services = fc.array(
    fc.record({
      name: fc.constantFrom("sqlite", "identity", "tools"),
      status: fc.constantFrom<Status>("healthy", "degraded", "unhealthy"),
      essential: fc.boolean(),
      responseTimeMs: fc.nat(),
    }),
  );
  test("shows the worst of what is said of a part, in whichever order it is said", async () => {
    const order: Status[] = ["healthy", "degraded", "unhealthy"];
    await fc.assert(
      fc.asyncProperty(services, async (found) => {
        const one = await reportOf(...found);
        const other = await reportOf(...found.toReversed());
        expect(other.status).toBe(one.status);
        for (const { name, status } of found)
          for (const { services: shown } of [one, other])
            expect(order.indexOf(shown[name]?.status ?? "healthy")).toBeGreaterThanOrEqual(order.indexOf(status));
      }),
    );
  });
});

test.each<[string, ServiceHealth[], Partial<ServiceHealth>]>([
  ["without dependencies", [], { status: "healthy", essential: false }],
  ["whose dependencies are well", [health("sqlite", "healthy", true)], { status: "healthy" }],
  [
    "with a broken dependency that is not essential",
    [health("sqlite", "healthy", true), health("mail", "unhealthy", false, "It is gone.")],
    { status: "unhealthy", essential: false, detail: "It is gone." },
  ],
  [
    "with two broken ones",
    [health("mail", "unhealthy"), health("sqlite", "unhealthy", true, "It is full.")],
    { status: "unhealthy", essential: true, detail: "It is full." },
  ],
])("a subgraph %s is as ill as the worst of them, and they are shown beside it", async (_what, parts, expected) => {
  const [self, ...rest] = await checkSubgraph({ name: "tools", health: async () => parts });
  expect(self).toMatchObject({ name: "tools", ...expected });
  expect(rest).toEqual(parts);
});

describe("a part over HTTP", () => {
  const detailOf = async (url: string) => (await checkHttp("proxy", url, "PROXY_PORT"))[0].detail;

  test("is well when it answers with 2xx, and as essential as the caller says", async () => {
    const url = await answering(204);
    expect(await checkHttp("proxy", url, "PROXY_PORT")).toMatchObject([{ status: "healthy", essential: false }]);
    expect(await checkHttp("proxy", url, "PROXY_PORT", { essential: true })).toMatchObject([{ essential: true }]);
  });

  test("is broken when it answers anything else", async () => {
    expect(await detailOf(await answering(404))).toBe("It answered 404; PROXY_PORT may name something else.");
  });

  test("that is a subgraph is as ill as it says, with what it rests on, of which nothing is essential here", async () => {
    const services = [health("mysql", "unhealthy", true, "It is away."), health("jobs", "healthy")];
    const url = await served((_request, response) => response.writeHead(503).end(JSON.stringify({ services })));
    expect(await checkRemoteSubgraph("tools", url, "SUBGRAPH_URLS")).toMatchObject([
      { name: "tools", status: "unhealthy", essential: false, detail: "It is away." },
      { name: "mysql", status: "unhealthy", essential: false, detail: "It is away." },
      { name: "jobs", status: "healthy" },
    ]);
    const endless = await served(({ socket }, response) => {
      const more = () => void (socket.destroyed || response.write("x".repeat(10_000), more));
      more();
    });
    expect(await checkRemoteSubgraph("tools", endless, "SUBGRAPH_URLS")).toMatchObject([
      { detail: "It answered 200; SUBGRAPH_URLS may name something else." },
    ]);
    const failing = await checkRemoteSubgraph("tools", await answering(502), "SUBGRAPH_URLS");
    expect(failing).toMatchObject([{ name: "tools", status: "unhealthy", detail: "It answered 502." }]);
    const other = await checkRemoteSubgraph("tools", await answering(404), "SUBGRAPH_URLS", { essential: true });
    expect(other).toMatchObject([
      {
        name: "tools",
        status: "unhealthy",
        essential: true,
        detail: "It answered 404; SUBGRAPH_URLS may name something else.",
      },
    ]);
  });

  test("that is a subgraph on a host whose clock differs is degraded, and says by how much", async () => {
    let aheadMs = 0;
    const url = await served((_request, response) => {
      const timestamp = new Date(Date.now() + aheadMs).toISOString();
      response.end(JSON.stringify({ timestamp, services: [health("clock", "degraded", false, "It is far off.")] }));
    });
    const check = () => checkRemoteSubgraph("tools", url, "SUBGRAPH_URLS");
    expect(await check()).toMatchObject([{ detail: "tools: It is far off." }, { name: "clock" }]);
    for (const [ms, difference] of [
      [120_000, "ahead of"],
      [-120_000, "behind"],
    ] as const) {
      aheadMs = ms;
      const sentence = new RegExp(`^The clock of tools's host is 1[12]\\d s ${difference} this gateway's\\.`);
      const detail = expect.stringMatching(sentence) as unknown;
      expect(await check()).toMatchObject([
        { name: "tools", status: "degraded", detail },
        { name: "clock", status: "degraded", essential: false, detail },
        { name: "clock", detail: "tools: It is far off." },
      ]);
    }
  });

  test("of a third party is asked by GraphQL, and may refuse the operation", async () => {
    const bodies: string[] = [];
    const url = await served((request, response) => {
      bodies.push(request.method ?? "");
      request.on("data", (chunk) => void bodies.push(String(chunk))).on("end", () => response.writeHead(401).end());
    });
    expect(await checkGraphql("reviews", url)).toMatchObject([
      { name: "reviews", status: "healthy", essential: false },
    ]);
    expect(bodies).toEqual(["POST", '{"query":"{ __typename }"}']);
    expect((await checkGraphql("reviews", await answering(502)))[0].detail).toBe("It answered 502.");
  });

  test("that nothing answers for says why, and which variable has its address", async () => {
    const server = createServer();
    const port = await portOf(server);
    server.close();
    await once(server, "close");
    expect(await detailOf(`http://127.0.0.1:${port}`)).toBe(
      "Nothing listens there (connection refused). It is looked for where PROXY_PORT says.",
    );
  });

  test("that speaks something else is told from one that does not listen", async () => {
    const other = await portOf(createServer((socket) => void socket.on("error", () => undefined).end("SSH-2.0\r\n")));
    expect(await detailOf(`http://127.0.0.1:${other}`)).toMatch(/^It does not answer by HTTP; it may speak TLS/);
    const plain = (await answering(200)).replace("http:", "https:");
    expect(await detailOf(plain)).toMatch(/^It does not speak TLS there: its URL must begin with http:/);
  });

  test("that does not answer in time is broken", async () => {
    const url = await served(() => undefined);
    vi.spyOn(AbortSignal, "timeout").mockReturnValue(AbortSignal.abort(new DOMException("late", "TimeoutError")));
    expect(await detailOf(url)).toMatch(/^It did not answer within 1.9 s\./);
    vi.restoreAllMocks();
  });

  test("does not show its address to everybody who may ask", async () => {
    for (const url of ["http://user:hunter2@127.0.0.1:1/health", "http://hunter2"])
      expect(await detailOf(url)).not.toContain("hunter2");
  });
});

describe("a gateway that starts", () => {
  const well = health("tools", "healthy");
  const ill = health("tools", "unhealthy", false, "Nothing listens there.");
  const start = (...answers: ServiceHealth[][]) => {
    const check = vi.fn<() => Promise<ServiceHealth[]>>();
    for (const answer of answers) check.mockResolvedValueOnce(answer);
    const warn = vi.fn();
    const stopping = new AbortController();
    // The rest of a logger is not used.
    const reached = reachSubgraphs({ check, logger: { warn } as never, signal: stopping.signal });
    return { check, warn, stopping, reached };
  };

  test("is ready at once where all subgraphs answer, or there are none", async () => {
    for (const answer of [[well], []]) {
      const { reached, warn } = start(answer);
      expect(await reached).toBe(true);
      expect(warn).not.toHaveBeenCalled();
    }
  });

  test("says which subgraphs are missing where some are", async () => {
    const { reached, warn } = start([well, { ...ill, name: "reviews" }]);
    expect(await reached).toBe(true);
    expect(warn.mock.calls).toEqual([
      [{ subgraphs: { reviews: "Nothing listens there." } }, "some subgraphs cannot be reached"],
    ]);
  });

  test("looks again until one answers, and complains once of all", async () => {
    vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
    const { reached, warn, check } = start([ill], [ill], [ill], [well]);
    expect(await reached).toBe(true);
    expect(check).toHaveBeenCalledTimes(4);
    expect(vi.mocked(delay).mock.calls.map(([ms]) => ms)).toEqual([500, 500, 500]);
    expect(warn.mock.calls).toEqual([
      [{ subgraphs: { tools: "Nothing listens there." } }, expect.stringMatching(/^no subgraph can be reached yet/)],
    ]);
  });

  test("that is stopped meanwhile is not ready", async () => {
    const { reached, stopping, check } = start([ill]);
    stopping.abort();
    expect(await reached).toBe(false);
    expect(check).toHaveBeenCalledTimes(1);
  });
});
