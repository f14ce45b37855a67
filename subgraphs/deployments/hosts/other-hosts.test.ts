import { createLogger, createServiceCaller } from "@toolyard/service-kit";
import { createTokenSigner } from "@toolyard/service-kit/identity/tokens.ts";
import { freePort } from "@toolyard/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { admin, createFixture, proxy, SECRET_KEY, type Fixture } from "../deployments-fixture.ts";
import { newReplica } from "../deploying/new-replica.ts";
import type { Replica } from "../deployment.ts";
import { offerOf, type Host } from "./host.ts";
import { createOtherHosts, type OtherHosts } from "./other-hosts.ts";

const NOW = 1_800_000_000_000;
const ALL = { last: 10, replicaId: null };
const logger = createLogger({ level: "silent", name: "test" });

describe("a host that does not answer", () => {
  let others: OtherHosts;
  let replica: Replica;
  afterEach(() => others.close());

  /** The other host, which has one replica. */
  function create(host: Pick<Host, "owner"> & { isLiving: boolean; url: string | null }): void {
    const { owner, isLiving, url } = host;
    const offer = offerOf({ address: "127.0.0.1", url, portRange: { first: 1, last: 2 } }, []);
    replica = newReplica({
      deployment: { id: "deployment-1", generation: 1 },
      ordinal: 0,
      place: { hostId: "two", address: "127.0.0.1", port: null },
    });
    const found = { id: "two", token: 1, owner, heardAt: NOW - 60_000, leaseUntil: 0, offer, isLiving };
    others = createOtherHosts({
      store: { replicasOf: async () => [replica], healthChecksOf: async () => [[]] },
      agent: { hostId: "one", all: async () => [found] },
      signer: createTokenSigner({ secretKey: SECRET_KEY }),
      logger,
      now: () => NOW,
    });
  }
  const closedUrl = async () => `http://127.0.0.1:${await freePort()}/graphql`;
  const away = "Host two was not heard from since 2027-01-15T07:59:00.000Z.";

  test.each([
    ["is away", async () => ({ owner: "a", isLiving: false, url: await closedUrl() }), away],
    ["was stopped", async () => ({ owner: "", isLiving: false, url: await closedUrl() }), "Host two was stopped."],
    [
      "refuses connections",
      async () => ({ owner: "a", isLiving: true, url: await closedUrl() }),
      "Host two does not answer.",
    ],
    [
      "has no URL",
      async () => ({ owner: "a", isLiving: true, url: null }),
      "Host two cannot be asked: its deployments subgraph does not run as a process of its own.",
    ],
  ])("since it %s is said where its lines and checks would be", async (_, host, why) => {
    create(await host());
    const note = { at: NOW, stream: "SYSTEM", text: `${why} Its output is missing here.`, replicaId: replica.id };
    expect(await others.logs("deployment-1", [replica], ALL)).toEqual([note]);
    const lines = [];
    for await (const line of others.followLogs(replica, new AbortController().signal, "NOW")) lines.push(line);
    expect(lines).toEqual([note]);
    expect(await others.check("deployment-1", AbortSignal.timeout(10_000))).toMatchObject([
      { replicaId: replica.id, status: "UNKNOWN", detail: why },
    ]);
    await expect(others.sessions(replica)).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
    others.noteBusy([replica]);
  });

  test("and whose stream is not wanted any more says nothing", async () => {
    create({ owner: "a", isLiving: false, url: null });
    for await (const line of others.followLogs(replica, AbortSignal.abort(), "NOW")) expect(line).toBeNull();
  });
});

describe("fields by which one host asks another", () => {
  let fixture: Fixture;
  let deploymentId: string;
  beforeEach(async () => {
    fixture = await createFixture();
    const { deployTool } = await fixture.run<{ deployTool: { id: string } }>(
      `mutation { deployTool(input: { toolId: "tool-1" }) { id } }`,
    );
    deploymentId = deployTool.id;
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  test("are for the deployments subgraph alone", async () => {
    const fields = [
      `{ logsOfHost(deploymentId: "${deploymentId}", last: 5) { text } }`,
      `{ sessionsOfHost(deploymentId: "${deploymentId}", replicaId: "x") }`,
      `mutation { checkReplicasOfHost(deploymentId: "${deploymentId}") }`,
      `mutation { noteBusyOfHost(replicaIds: []) }`,
      `mutation { noteLoadOfHost(proxyId: "p", loads: []) }`,
    ];
    const host = createServiceCaller("deployments", ["internal:hosts"]);
    for (const field of fields) {
      for (const caller of [admin, proxy]) expect(await fixture.codeOf(field, {}, caller)).toBe("FORBIDDEN");
      expect(await fixture.codeOf(field, {}, host)).toBeNull();
    }
    const live = `subscription { logsOfHost(deploymentId: "${deploymentId}") { text } }`;
    for (const caller of [admin, proxy])
      await expect(fixture.stream(live, {}, caller)).rejects.toMatchObject({ message: expect.any(String) as unknown });
  });
});
