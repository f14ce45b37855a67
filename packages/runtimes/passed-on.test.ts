import { noCluster } from "@toolyard/testing/cluster.ts";
import { noContainers } from "@toolyard/testing/containers.ts";
import { ownAddress } from "@toolyard/testing/ports.ts";
import { isInstalled } from "@toolyard/testing/reverse-proxy.ts";
import { startTlsServer } from "@toolyard/testing/tls-server.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { passedOn } from "./container/passed-on.ts";
import { engineTests, openDockerHarness } from "./docker-runtime.harness.ts";
import { stopAll } from "./fixtures/stop-all.ts";
import { DEFAULT_REPLICA_ENV } from "./host/host-variables.ts";
import { certificatesIn, createTrust } from "./host/trust.ts";
import { clusterTests, openKubernetesHarness, SERVES, useNamespace } from "./kubernetes-runtime.harness.ts";
import { process as processes } from "./process/index.ts";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import type { ReplicaHandle, ReplicaSpec } from "./runtime.ts";
import type { RuntimeHarness } from "./runtime.contract.ts";

/* What every runtime passes on to its replicas: issuers that they trust, and where packages come from. */

interface Opened extends RuntimeHarness {
  serving(name: string): Promise<ReplicaSpec> | ReplicaSpec;
  asked(spec: ReplicaSpec, handle: ReplicaHandle, question: string): Promise<unknown>;
}

const MIRRORS = {
  npm_config_registry: "https://npm.example.com/",
  UV_DEFAULT_INDEX: "https://pypi.example.com/simple",
};
const noBubblewrap = await whyNoBubblewrap();
const namespace = useNamespace();

async function openProcesses(isolation: "none" | "bubblewrap", issuers: readonly string[]): Promise<Opened> {
  const hostEnv = { PATH: process.env.PATH, HOME: process.env.HOME, NODE_EXTRA_CA_CERTS: "/of/the/host", ...MIRRORS };
  const harness = await openProcessHarness({ isolation, hostEnv, trust: createTrust(issuers) });
  return {
    ...harness,
    serving: (name) => harness.fixture(name, "http-server.mjs"),
    asked: (spec, _, question) => harness.ask(spec, question),
  };
}
const toContainers = (issuers: readonly string[]) =>
  passedOn(
    { EXTRA_CA_FILE: issuers, REPLICA_ENV: DEFAULT_REPLICA_ENV },
    { ...MIRRORS, UV_CONFIG_FILE: "/etc/uv.toml", HTTPS_PROXY: "http://127.0.0.1:3128" },
  );
async function openContainers(issuers: readonly string[]): Promise<Opened> {
  const harness = await openDockerHarness({ passedOn: toContainers(issuers) });
  return {
    ...harness,
    serving: (name) => harness.image(name, ["node", "/http-server.mjs"]),
    asked: (_, handle, question) => harness.ask(handle, question),
  };
}
async function openPods(issuers: readonly string[]): Promise<Opened> {
  const harness = await openKubernetesHarness(await namespace(), { passedOn: toContainers(issuers) });
  return {
    ...harness,
    serving: (name) => harness.image(name, SERVES),
    asked: (_, handle, question) => harness.ask(handle, question),
  };
}

describe.each([
  { what: "processes", skipped: null, open: openProcesses.bind(null, "none"), at: "127.0.0.1" },
  {
    what: "processes under bubblewrap",
    skipped: noBubblewrap,
    open: openProcesses.bind(null, "bubblewrap"),
    at: "127.0.0.1",
  },
  { what: engineTests, skipped: noContainers, open: openContainers, at: ownAddress() },
  { what: clusterTests, skipped: noCluster, open: openPods, at: process.env["TEST_KUBERNETES_HOST"] ?? ownAddress() },
])("replicas on $what", ({ skipped, open, at }) => {
  test.skipIf(skipped !== null || !isInstalled("openssl"))(
    "trust the operator's issuers beside the system's, whichever way they look for them, and fetch from his mirrors, unless their launch says otherwise",
    async () => {
      await using server = await startTlsServer(at);
      const opened = await open([server.issuer]);
      onTestFinished(async () => {
        await stopAll(opened.runtime, 0);
        await opened.runtime.close();
        await opened.close();
      });
      const started = async (name: string, env: Record<string, string>) => {
        const { launch, ...spec } = await opened.serving(name);
        // The fixtures' launches all have variables.
        const whole = { ...spec, launch: { ...launch, env } as ReplicaSpec["launch"] };
        const handle = await opened.runtime.start(whole);
        return (question: string) => opened.asked(whole, handle, question);
      };
      const [usual, byOpenSsl, otherwise] = await Promise.all([
        started("usual", {}),
        started("by-openssl", { NODE_EXTRA_CA_CERTS: "", NODE_OPTIONS: "--use-openssl-ca" }),
        started("otherwise", { NODE_EXTRA_CA_CERTS: "", UV_DEFAULT_INDEX: "https://own.example.com" }),
      ]);
      const fetched = `/fetch?of=${encodeURIComponent(server.url)}`;
      expect(await usual(fetched)).toEqual([200, "trusted"]);
      expect(await byOpenSsl(fetched)).toEqual([200, "trusted"]);
      expect(await otherwise(fetched)).toMatch(/certificate/);

      const environment = (await usual("/environment")) as Record<string, string>;
      expect(environment).toMatchObject(MIRRORS);
      expect(await otherwise("/environment")).toMatchObject({ UV_DEFAULT_INDEX: "https://own.example.com" });
      // What means nothing there.
      expect(environment).not.toHaveProperty("UV_CONFIG_FILE");
      expect(environment).not.toHaveProperty("HTTPS_PROXY");
      const all = String(await usual(`/read?of=${environment["SSL_CERT_FILE"]}`));
      expect(certificatesIn(all)?.length).toBeGreaterThan(50);
    },
  );
});

test("variables with paths or addresses of this host alone are not passed on, nor are Toolyard's own", () => {
  const { environment, trust } = passedOn(
    { REPLICA_ENV: [...DEFAULT_REPLICA_ENV, "TOOLYARD_URL", "PATH"] },
    {
      PATH: "/usr/bin:/bin",
      TOOLYARD_URL: "https://toolyard.example.com",
      HTTP_PROXY: "http://[::1]:3128",
      HTTPS_PROXY: "http://proxy.example.com:3128",
      https_proxy: "localhost:3128",
      NO_PROXY: "localhost,127.0.0.1,.example.com",
      PIP_INDEX_URL: "file:///srv/pypi",
      PIP_EXTRA_INDEX_URL: "https://a.example.com https://localhost:8080/simple",
      UV_INDEX: "own=https://pypi.example.com/simple",
      UV_NATIVE_TLS: "true",
      NOT_IN_THE_LIST: "x",
    },
  );
  expect(trust).toBeNull();
  expect(environment).toEqual({
    HTTPS_PROXY: "http://proxy.example.com:3128",
    NO_PROXY: "localhost,127.0.0.1,.example.com",
    UV_INDEX: "own=https://pypi.example.com/simple",
    UV_NATIVE_TLS: "true",
  });
});

test("the system's certificates are there once, also where the operator names one of them", () => {
  const [, known = ""] = certificatesIn(createTrust([]).files["all-ca.pem"] ?? "") ?? [];
  const { files } = createTrust([known]);
  expect(certificatesIn(files["extra-ca.pem"] ?? "")).toContain(known);
  expect(certificatesIn(files["all-ca.pem"] ?? "")?.filter((each) => each === known)).toEqual([known]);
});

test.each([
  ["/no/such/file", "cannot be read (ENOENT)"],
  [import.meta.filename, "must name a file of certificates in PEM"],
])("EXTRA_CA_FILE=%s stops the start in words", (file, words) => {
  expect(() => processes.configure({ EXTRA_CA_FILE: file })).toThrow(`EXTRA_CA_FILE: ${words}`);
});
