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
import { describe } from "vitest";
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
    const fixture: IdentityClientFixture = { ...actionsIn(installation), client, cut, mend };
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
