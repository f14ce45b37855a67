import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { systemCodeOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { z } from "zod";
import { DEFAULT_REGISTRY } from "../container/image-reference.ts";

/** As Docker's API takes them. Secret. */
export type RegistryCredentials =
  { username: string; password: string; serveraddress: string } | { identitytoken: string; serveraddress: string };

const entry = z.object({
  auth: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  identitytoken: z.string().optional(),
});
const helper = z.string().regex(/^[A-Za-z0-9._-]+$/);
const configuration = z.object({
  auths: z.record(z.string(), entry).default({}),
  credHelpers: z.record(z.string(), helper).default({}),
  credsStore: helper.optional(),
});
const answer = z.object({ Username: z.string(), Secret: z.string() });

/** By this name `docker login` knows Docker's own registry. */
const DEFAULT_SERVER = "https://index.docker.io/v1/";
const HELPER_TIMEOUT_MS = 10_000;

/**
 * What the file, of the form of Docker's `config.json`, has for the registry; null where it has nothing, or there is none. Read each time: a login
 * holds at once. The programs that it names (`credHelpers`, `credsStore`) are run.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE when it cannot be read; the message has nothing of what is in it.
 */
export async function credentialsFor(registry: string, file: string): Promise<RegistryCredentials | null> {
  const unreadable = (why: string, cause: unknown) =>
    new ToolyardError("UPSTREAM_UNAVAILABLE", `The file of registry credentials cannot be read: ${why}.`, { cause });
  let config: z.infer<typeof configuration>;
  try {
    config = configuration.parse(JSON.parse(await readFile(file, "utf8")));
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    // What does not fit may be quoted in the error: it is not passed on.
    throw code === null ? unreadable("it is not of the form of Docker's config.json", null) : unreadable(code, error);
  }
  const servers = [registry, `https://${registry}`, ...(registry === DEFAULT_REGISTRY ? [DEFAULT_SERVER] : [])];
  for (const serveraddress of servers) {
    const program = config.credHelpers[serveraddress];
    const found = config.auths[serveraddress];
    const credentials =
      program !== undefined ? await askHelper(program, serveraddress) : found && toCredentials(found, serveraddress);
    if (credentials) return credentials;
  }
  if (config.credsStore === undefined) return null;
  for (const server of servers) {
    const credentials = await askHelper(config.credsStore, server);
    if (credentials) return credentials;
  }
  return null;
}

function toCredentials(found: z.infer<typeof entry>, serveraddress: string): RegistryCredentials | null {
  if (found.identitytoken) return { identitytoken: found.identitytoken, serveraddress };
  const decoded = Buffer.from(found.auth ?? "", "base64").toString("utf8");
  const at = decoded.indexOf(":");
  const username = found.username ?? decoded.slice(0, Math.max(0, at));
  const password = found.password ?? decoded.slice(at + 1);
  return username === "" ? null : { username, password, serveraddress };
}

/** Null where the helper knows nothing of the server: it fails then, as it does for every other reason. */
function askHelper(program: string, server: string): Promise<RegistryCredentials | null> {
  const { promise, resolve } = Promise.withResolvers<RegistryCredentials | null>();
  const options = { timeout: HELPER_TIMEOUT_MS };
  const child = execFile(`docker-credential-${program}`, ["get"], options, (error, stdout) => {
    const told = error ? null : answer.safeParse(parsed(stdout)).data;
    if (!told) return resolve(null);
    const { Username: username, Secret: password } = told;
    // So Docker's helpers say that it is a token.
    const isToken = username === "<token>";
    resolve(
      isToken ? { identitytoken: password, serveraddress: server } : { username, password, serveraddress: server },
    );
  });
  child.stdin?.on("error", () => undefined); // It is not there, which its exit tells.
  child.stdin?.end(server);
  return promise;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
