import { createIdentityClient } from "@toolyard/identity-client";
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
      now: installation.identity.now,
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
