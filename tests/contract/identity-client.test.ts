import { createIdentityClient, createIdentityClock } from "@toolyard/identity-client";
import {
  identityClientContract,
  type IdentityClientFixture,
} from "@toolyard/identity-client/identity-client.contract.ts";
import {
  createLogger,
  createServiceCaller,
  createTokenSigner,
  createTokenVerifier,
  type GraphClient,
  type ServicePermission,
} from "@toolyard/service-kit";
import { createHttpGraphClient, signedBy, type HeadersOf } from "@toolyard/service-kit/graph/http-graph-client.ts";
import { SECRET_KEYS } from "@toolyard/subgraph-identity/identity-fixture.ts";
import { describe, expect, test } from "vitest";
import {
  actionsIn,
  createBreakableGraph,
  createBreakableWay,
  startIdentityInstallation,
  type IdentityInstallation,
  type Transport,
} from "./fixtures/identity-installation.ts";

const PERMISSIONS: ServicePermission[] = ["internal:introspect", "internal:revocations"];
const signer = createTokenSigner({ secretKey: SECRET_KEYS[0] ?? "" });

/** The contract over what `open` makes of an installation. */
function over(open: (installation: IdentityInstallation) => Promise<Transport & { graph: GraphClient }>): void {
  identityClientContract(async (run) => {
    await using installation = await startIdentityInstallation();
    await using transport = await open(installation);
    const { graph, cut, mend } = transport;
    const client = createIdentityClient({
      graph,
      as: createServiceCaller("verifier", PERMISSIONS),
      verifier: createTokenVerifier({ keys: { secretKeys: SECRET_KEYS } }),
      logger: createLogger({ level: "silent", name: "test" }),
      clock: {
        ...createIdentityClock({ graph, as: createServiceCaller("verifier", PERMISSIONS) }),
        now: installation.identity.now,
        measure: async () => undefined,
      },
    });
    const serviceToken = () => signer.serviceToken("verifier", PERMISSIONS, 60);
    const fixture: IdentityClientFixture = { ...actionsIn(installation), serviceToken, client, cut, mend };
    try {
      await run(fixture);
    } finally {
      await client.close();
    }
  });
}

function overHttp(headersOf: HeadersOf): void {
  over(async ({ port }) => {
    const way = await createBreakableWay(port);
    const graph = createHttpGraphClient({ gatewayUrl: way.url, headersOf });
    return {
      ...way,
      graph,
      async [Symbol.asyncDispose]() {
        await graph.close();
        await way[Symbol.asyncDispose]();
      },
    };
  });
}

describe("a verifier in identity's process", () => over(async ({ gateway }) => createBreakableGraph(gateway.graph)));

describe("a verifier over HTTP, with a caller header", () => overHttp(signedBy(signer)));

describe("a verifier over HTTP, with a service's token", () =>
  overHttp(async () => ({ authorization: `Bearer ${await signer.serviceToken("verifier", PERMISSIONS, 60)}` })));

test.each([7_200_000, -7_200_000])(
  "a verifier whose host's clock is %i ms ahead judges credentials by identity's",
  async (aheadMs) => {
    await using installation = await startIdentityInstallation();
    const { identity, gateway } = installation;
    const common = { graph: gateway.graph, as: createServiceCaller("verifier", PERMISSIONS) };
    const clock = createIdentityClock({ ...common, own: () => Date.now() + aheadMs });
    const client = createIdentityClient({
      ...common,
      clock,
      verifier: createTokenVerifier({ keys: { secretKeys: SECRET_KEYS }, now: clock.now }),
      logger: createLogger({ level: "silent", name: "test" }),
    });
    client.start();
    const { accessToken } = await identity.register("ada");
    const authenticate = async () => client.authenticate(`Bearer ${accessToken}`);
    expect(await authenticate()).toMatchObject({ kind: "user" });
    expect(clock.aheadMs()).toBeCloseTo(aheadMs, -5);
    identity.advance(16 * 60_000);
    await clock.measure();
    await expect(authenticate()).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await client.close();
  },
);

test("of several who send the same stream ticket at once, one passes", async () => {
  await using installation = await startIdentityInstallation();
  const { identity, gateway } = installation;
  const as = await identity.callerOf((await identity.register("ada")).accessToken);
  const query = "mutation { createStreamTicket { ticket } }";
  type Created = { createStreamTicket: { ticket: string } };
  const { createStreamTicket } = await gateway.graph.query<Created>({ query, as });
  const client = createIdentityClient({
    // By the gateway's execution, which answers identical reads by one.
    graph: gateway.graph,
    as: createServiceCaller("verifier", PERMISSIONS),
    verifier: createTokenVerifier({ keys: { secretKeys: SECRET_KEYS } }),
    takesTickets: true,
    logger: createLogger({ level: "silent", name: "test" }),
  });
  const send = async () => client.authenticate(`Bearer ${createStreamTicket.ticket}`);
  const answers = await Promise.allSettled([send(), send(), send(), send()]);
  expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const answer of answers)
    if (answer.status === "rejected") expect(answer.reason).toMatchObject({ code: "UNAUTHENTICATED" });
  await client.close();
});
