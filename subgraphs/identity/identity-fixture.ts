import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import type { Job } from "@toolyard/scheduler";
import {
  createCaller,
  createLogger,
  createServiceCaller,
  createTokenVerifier,
  type Caller,
  type GraphClient,
  type GraphRequest,
} from "@toolyard/service-kit";
import { createStores } from "@toolyard/subgraph-host";
import { dataOf } from "@toolyard/testing";
import { createIdentitySubgraph, parseIdentityConfig, type IdentitySubgraph } from "./index.ts";

export const PASSWORD = "correct horse battery";
export const ADMIN_PASSWORD = "an administrator's own";
export const verifierService = createServiceCaller("gateway", ["internal:introspect", "internal:revocations"]);

export const SECRET_KEYS = ["a secret key for tests, of enough characters"];

export interface SessionAnswer {
  accessToken: string;
  refreshToken: string;
  tokenType: string;
  expiresIn: number;
  user: { id: string; username: string; role: string; email: string | null };
}

export const SESSION = "accessToken refreshToken tokenType expiresIn user { id username role email }";

/** A subgraph in a folder of its own, and the actions of users and verifiers. */
export interface Identity extends AsyncDisposable {
  subgraph: IdentitySubgraph;
  dataDir: string;
  /** Moves the subgraph's clock. */
  advance(ms: number): void;
  now(): number;
  /** Does at once what is done regularly. */
  runJobs(): Promise<void>;
  register(username: string, password?: string): Promise<SessionAnswer>;
  login(username: string, password?: string): Promise<SessionAnswer>;
  /** The caller that a verifier makes of an access token. */
  callerOf(accessToken: string): Promise<Caller>;
  /** The caller that a verifier makes of an API key. */
  callerOfKey(secret: string): Promise<Caller>;
  /** The first administrator, logged in. */
  admin(): Promise<Caller>;
  /** A new user with a role, logged in. */
  user(username: string, role: "ADMIN" | "DEVELOPER" | "VIEWER"): Promise<Caller>;
  introspect(credential: string): Promise<{
    active: boolean;
    subject: string | null;
    scopes: string[];
    role: string | null;
    toolIds: string[] | null;
  }>;
}

/** The tools subgraph, as identity asks it about the tools of keys: these by id and slug. */
const TOOLS = new Map([
  ["one-id", "one"],
  ["other-id", "other"],
]);
const toolsGraph: GraphClient = {
  async query<Data>({ variables }: GraphRequest) {
    const found = [...TOOLS].find((names) => names.includes(String(variables?.["id"])));
    return { tool: found ? { id: found[0] } : null } as Data; // all that is asked
  },
  subscribe: () => {
    throw new Error("Identity follows nothing of others.");
  },
};

/** @param clock What `advance` moves on from */
export async function startIdentity(
  env: Record<string, string> = {},
  clock: () => number = Date.now,
): Promise<Identity> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-identity-"));
  let offset = 0;
  const now = () => clock() + offset;
  const logger = createLogger({ level: "silent", name: "identity" });
  const stores = createStores({ dataDir, bus: createInProcessBus(), logger });
  const jobs: Job[] = [];
  const scheduler: typeof stores.scheduler = {
    add(added) {
      jobs.push(...added);
      return stores.scheduler.add(added);
    },
  };
  const subgraph = await createIdentitySubgraph({
    config: parseIdentityConfig({ ADMIN_PASSWORD, ...env }),
    logger,
    stores: { ...stores, scheduler },
    graph: toolsGraph,
    secretKeys: SECRET_KEYS,
    dataDir,
    now,
  });
  await subgraph.ensureFirstAdministrator();
  const verifier = createTokenVerifier({ keys: { secretKeys: SECRET_KEYS }, now });

  const login: Identity["login"] = async (username, password = PASSWORD) => {
    const query = `mutation ($u: String!, $p: String!) { login(username: $u, password: $p) { ${SESSION} } }`;
    return (await dataOf<{ login: SessionAnswer }>(subgraph, query, { u: username, p: password })).login;
  };
  const register: Identity["register"] = async (username, password = PASSWORD) => {
    const query = `mutation ($input: RegisterInput!) { register(input: $input) { ${SESSION} } }`;
    const input = { username, password, email: `${username}@example.com` };
    return (await dataOf<{ register: SessionAnswer }>(subgraph, query, { input })).register;
  };
  const callerOf: Identity["callerOf"] = (token) => verifier.verify(token);
  const introspect = async (credential: string) => {
    const query = `query ($c: String!) { introspectCredential(credential: $c)
      { active subject role scopes toolIds expiresAt apiKeyId tokenId issuedAt passwordAt } }`;
    type Data = { introspectCredential: Awaited<ReturnType<Identity["introspect"]>> };
    return (await dataOf<Data>(subgraph, query, { c: credential }, verifierService)).introspectCredential;
  };
  const admin = async () => callerOf((await login("admin", ADMIN_PASSWORD)).accessToken);
  return {
    subgraph,
    dataDir,
    now,
    advance: (ms) => void (offset += ms),
    async runJobs() {
      if (jobs.length === 0) await subgraph.start();
      for (const job of jobs) await job.run({});
    },
    register,
    login,
    callerOf,
    introspect,
    admin,
    async callerOfKey(secret) {
      const { subject, scopes, role, toolIds } = await introspect(secret);
      const apiKeyId = /^ty_(.+?)_/.exec(secret)?.[1] ?? "";
      return createCaller({
        kind: "user",
        subject,
        // Both come from the schema's enums.
        role: role as Caller["role"],
        scopes: scopes as Caller["scopes"],
        servicePermissions: [],
        credential: { type: "api-key", apiKeyId },
        toolIds,
        expiresAt: null,
      });
    },
    async user(username, role) {
      const { user } = await register(username);
      if (role !== "VIEWER") {
        const query = "mutation ($id: ID!, $role: Role!) { setUserRole(userId: $id, role: $role) { id } }";
        await dataOf(subgraph, query, { id: user.id, role }, await admin());
      }
      return callerOf((await login(username)).accessToken);
    },
    async [Symbol.asyncDispose]() {
      await subgraph.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
