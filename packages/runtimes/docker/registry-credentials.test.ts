import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { credentialsFor } from "./registry-credentials.ts";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-credentials-"));
  file = join(folder, "config.json");
  const program = join(folder, "docker-credential-safe");
  const script = `#!/bin/sh
read -r server || true
case $server in
  quay.io) echo '{"ServerURL":"quay.io","Username":"ann","Secret":"of the safe"}' ;;
  token.io) echo '{"Username":"<token>","Secret":"a token"}' ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
`;
  await writeFile(program, script);
  await chmod(program, 0o755);
  vi.stubEnv("PATH", `${folder}${delimiter}${process.env["PATH"]}`);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const auth = Buffer.from("ann:pass:word").toString("base64");

test.each([
  ["ghcr.io", { auths: { "ghcr.io": { auth } } }, { username: "ann", password: "pass:word" }],
  ["ghcr.io", { auths: { "https://ghcr.io": { username: "ann", password: "p" } } }, { username: "ann", password: "p" }],
  ["docker.io", { auths: { "https://index.docker.io/v1/": { auth } } }, { username: "ann", password: "pass:word" }],
  ["ghcr.io", { auths: { "ghcr.io": { identitytoken: "t" } } }, { identitytoken: "t" }],
  ["quay.io", { credHelpers: { "quay.io": "safe" } }, { username: "ann", password: "of the safe" }],
  ["token.io", { credsStore: "safe", auths: { "token.io": {} } }, { identitytoken: "a token" }],
])("credentials for %s are found in %j", async (registry, config, credentials) => {
  await writeFile(file, JSON.stringify(config));
  expect(await credentialsFor(registry, file)).toMatchObject(credentials);
});

test("where there are none, there are none", async () => {
  await writeFile(file, JSON.stringify({ credsStore: "safe", auths: { "ghcr.io": { auth } } }));
  expect(await credentialsFor("other.io", file)).toBeNull();
  await writeFile(file, JSON.stringify({ credsStore: "not-installed" }));
  expect(await credentialsFor("other.io", file)).toBeNull();
  expect(await credentialsFor("other.io", join(folder, "none.json"))).toBeNull();
});

test("a file that cannot be read is said to be so, without what is in it", async () => {
  await writeFile(file, `{"auths": {"ghcr.io": {"auth": 5, "password": "hunter2"}}`);
  const failure = await credentialsFor("ghcr.io", file).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", cause: null });
  expect(String(failure)).not.toContain("hunter2");
});
