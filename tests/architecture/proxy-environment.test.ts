import { parseProxyConfig } from "@toolyard/proxy/config.ts";
import { expect, test } from "vitest";
import { proxyEnvironment } from "../../standalone/proxy-environment.ts";

/** What standalone says to its proxy itself. */
const SET_BY_STANDALONE = [
  "HOST",
  "PROXY_PORT",
  "DATA_DIR",
  "GATEWAY_URL",
  "PROXY_CREDENTIAL",
  "PROXY_CREDENTIAL_FILE",
];
/** What stops standalone itself. */
const REFUSED = ["DATABASE_URL", "MONGODB_URL", "REDIS_URL"];

test("standalone hands its proxy every variable that the proxy reads, and no secret of its own", () => {
  const read = new Set<string>();
  const recording = new Proxy<Record<string, string>>(
    // Where there is an endpoint, all of tracing's variables are read.
    { PROXY_CREDENTIAL: "a.b.c", OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" },
    {
      get(target, name) {
        if (typeof name === "string") read.add(name);
        return Reflect.get(target, name);
      },
    },
  );
  parseProxyConfig(recording);
  for (const name of REFUSED) read.delete(name);
  const handedOn = proxyEnvironment(Object.fromEntries([...read].map((name) => [name, "a value"])));
  expect([...read]).toEqual(expect.arrayContaining(["ALLOW_PRIVATE_REMOTES", "OTEL_EXPORTER_OTLP_HEADERS"]));
  expect([...read].filter((name) => !SET_BY_STANDALONE.includes(name) && handedOn[name] === undefined)).toEqual([]);
  expect(
    proxyEnvironment({
      SECRET_KEY: "x",
      SECRET_KEY_FILE: "x",
      SECRET_KEY_PREVIOUS: "x",
      ADMIN_PASSWORD: "x",
      PROXY_CREDENTIAL: "x",
    }),
  ).toEqual({});
});
