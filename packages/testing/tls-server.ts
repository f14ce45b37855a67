import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A server of this machine, on all its addresses, whose certificate is for `address` and by an issuer that nobody knows. It answers "trusted".
 * Needs openssl 3.
 */
export async function startTlsServer(address: string) {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-issuer-"));
  const [ca, caKey, certificate, key] = ["ca.pem", "ca.key", "own.pem", "own.key"].map((file) => join(folder, file));
  if (!ca || !caKey || !certificate || !key) throw new Error("four were named");
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(" ");
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync("openssl", [...made, ...args]);
    if (status !== 0) throw new Error(`openssl made no certificate: ${String(stderr)}`);
  };
  openssl("-subj", "/CN=A company", "-keyout", caKey, "-out", ca);
  const names = ["-subj", "/CN=server", "-addext", `subjectAltName=IP:${address}`];
  openssl(
    "-CA",
    ca,
    "-CAkey",
    caKey,
    ...names,
    "-addext",
    "basicConstraints=critical,CA:FALSE",
    "-keyout",
    key,
    "-out",
    certificate,
  );
  const server = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (_, response) =>
    response.end("trusted"),
  ).listen(0, "0.0.0.0");
  await once(server, "listening");
  return {
    url: `https://${address}:${(server.address() as AddressInfo).port}/`,
    /** The issuer's certificate, in PEM. */
    issuer: readFileSync(ca, "utf8"),
    /** The file of that. */
    issuerFile: ca,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await rm(folder, { recursive: true });
    },
  };
}
