import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { isInstalled } from "@toolyard/testing/reverse-proxy.ts";
import { expect, onTestFinished, test } from "vitest";
import { startFakeEngine } from "../fixtures/fake-engine.ts";
import { createEngine, EngineRefusal, orNull } from "./engine.ts";

async function listenFor<Listening extends Server>(server: Listening): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const versionOf = (engine: ReturnType<typeof createEngine>) => engine.ask((docker) => docker.version());
const answers: RequestListener = (_, response) => void response.end(`{"Version":"1"}`);

test("an engine is asked over TCP, whatever this process's own environment says", async () => {
  const url = await listenFor(createServer(answers));
  expect(await versionOf(createEngine({ url, certificates: null }))).toEqual({ Version: "1" });
});

test.skipIf(!isInstalled("openssl"))(
  "an engine is asked over TLS, and each knows the other by its certificate",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "toolyard-tls-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=engine";
    const files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert];
    expect(spawnSync("openssl", [...request.split(" "), ...files]).status).toBe(0);
    await cp(cert, join(folder, "ca.pem"));
    const own = { key: readFileSync(key), cert: readFileSync(cert) };
    const known: boolean[] = [];
    const server = createTlsServer({ ...own, ca: own.cert, requestCert: true }, (request_, response) => {
      known.push((request_.socket as TLSSocket).authorized);
      answers(request_, response);
    });
    const url = await listenFor(server);
    expect(await versionOf(createEngine({ url, certificates: folder }))).toEqual({ Version: "1" });
    expect(known).toEqual([true]);
  },
);

test.each(["ssh://host", "npipe:////./pipe/docker_engine", "host:2375", ""])("%j is refused", (url) => {
  expect(() => createEngine({ url, certificates: null })).toThrow(
    expect.objectContaining({ code: "PRECONDITION_FAILED", message: expect.stringContaining("DOCKER_HOST") }),
  );
});

test.each([
  ["unix:///run/docker.sock", true],
  ["tcp://localhost:2375", true],
  ["tcp://[::1]:2375", true],
  ["tcp://10.0.0.7:2375", false],
])("whether what %s publishes on loopback is reached from here: %s", (url, isHere) => {
  expect(createEngine({ url, certificates: null }).isHere).toBe(isHere);
});

test("what an engine refuses is told in its words; one that does not answer is away, also where it hangs", async () => {
  await using fake = await startFakeEngine((request, response) => {
    if (request.url?.startsWith("/images")) response.writeHead(404).end(`{"message":"no such image"}`);
    if (request.url?.startsWith("/version")) response.writeHead(500).end(`{"message":"the disk is full"}`);
  });
  const engine = createEngine({ url: fake.url, certificates: null, timeoutMs: 200 });
  const refusal = await versionOf(engine).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(EngineRefusal);
  expect(refusal).toMatchObject({ status: 500, message: "the disk is full" });
  expect(await orNull(engine.ask((docker) => docker.getImage("none").inspect()))).toBeNull();
  const away = { code: "UPSTREAM_UNAVAILABLE" };
  await expect(engine.ask((docker) => docker.ping())).rejects.toMatchObject(away);
  const inspect = engine.ask((docker, abortSignal) => docker.getContainer("hangs").inspect({ abortSignal }));
  await expect(inspect).rejects.toMatchObject(away);
  const events = engine.open((docker, abortSignal) => docker.getEvents({ abortSignal }), new AbortController().signal);
  await expect(events).rejects.toMatchObject(away);
});
