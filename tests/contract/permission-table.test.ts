/**
 * The permission table of the design (graph.md) against the running graph: who may do what, by role, by how a tool is shared, by credential. It is
 * written down here as the design says it, not as the code does. Every query and mutation of the graph has a row.
 */
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ToolyardError,
  anonymous,
  createCaller,
  createServiceCaller,
  createTokenVerifier,
  createUserCaller,
  type Caller,
} from "@toolyard/service-kit";
import { Kind, parse } from "graphql";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { IdentitySubgraph } from "@toolyard/subgraph-identity";
import { SECRET_KEYS, openInstallation, type Installation } from "../architecture/fixtures/installation.ts";

const ROLES = ["ADMIN", "DEVELOPER", "VIEWER"] as const;
const RELATIONS = ["none", "VIEW", "USE", "EDIT", "author"] as const;
const CREDENTIALS = ["session", "READ", "WRITE", "INVOKE", "ADMIN", "this tool", "another tool"] as const;
type Role = (typeof ROLES)[number];
type Relation = (typeof RELATIONS)[number];
type Credential = (typeof CREDENTIALS)[number];

/** Of each right: the scope it takes, whether a limited key can have it, and whether a user has it on a tool. */
interface Right {
  scope: "READ" | "WRITE" | "INVOKE" | "ADMIN";
  /** Whether it is about a tool, so that a key that is limited to the tool has it. */
  ofTool: boolean;
  has(role: Role, relation: Relation): boolean;
}
const everybody = () => true;
const makers = (role: Role) => role !== "VIEWER";
const administrators = (role: Role) => role === "ADMIN";
const by =
  (...relations: Relation[]) =>
  (role: Role, relation: Relation) =>
    role === "ADMIN" || (role === "DEVELOPER" && relations.includes(relation));
const RIGHTS = {
  read: { scope: "READ", ofTool: true, has: everybody },
  readMine: { scope: "READ", ofTool: true, has: (_: Role, relation: Relation) => relation === "author" },
  readShared: {
    scope: "READ",
    ofTool: true,
    has: (_: Role, relation: Relation) => !["none", "author"].includes(relation),
  },
  readCatalogue: { scope: "READ", ofTool: false, has: everybody },
  inspect: { scope: "READ", ofTool: true, has: by("VIEW", "USE", "EDIT", "author") },
  write: { scope: "WRITE", ofTool: true, has: by("EDIT", "author") },
  own: { scope: "WRITE", ofTool: true, has: by("author") },
  share: { scope: "WRITE", ofTool: false, has: by("author") },
  make: { scope: "WRITE", ofTool: false, has: makers },
  account: { scope: "READ", ofTool: false, has: everybody },
  credentials: { scope: "WRITE", ofTool: false, has: everybody },
  administer: { scope: "ADMIN", ofTool: false, has: administrators },
} satisfies Record<string, Right>;

/** One way to try a field. `passes`: errors that say that the caller might do it. */
interface Row {
  right: keyof typeof RIGHTS;
  run: string;
  passes?: string[];
  /** Errors that refuse, besides FORBIDDEN and NOT_FOUND. */
  refuses?: string[];
  /** Whether the answer must name the tool, or its mark; else it is enough that there is no error. */
  isShown?: true;
}
/** Fields that are no matter of roles and tools, with the reason. */
const OTHERWISE: Record<string, string> = {
  register: "for everybody, without a credential",
  login: "for everybody, without a credential",
  refreshSession: "by the refresh token that it is given",
  logout: "of the session itself: a key has none (identity's tests)",
  changePassword: "of a session by password (identity's tests)",
  createApiKey: "of sessions, and of keys within themselves (identity's tests)",
  revokeApiKey: "of sessions, and of a key by itself (identity's tests)",
  resetPassword: "of an administrator's recent session by password (identity's tests)",
  toolLog: "a place in a log says nothing of tools",
  taskLog: "a place in a log says nothing of tools",
  deploymentEventLog: "a place in a log says nothing of tools",
  deploymentHealthLog: "a place in a log says nothing of tools",
  ...Object.fromEntries(
    [
      "release",
      "releases",
      "doraMetrics",
      "approveRelease",
      "promoteToProduction",
      "rollbackDeployment",
      "resumeRelease",
    ]
      .concat("validateDeployment", "runSecurityScan", "runSmokeTests", "verifyAuditLog")
      .map((name) => [name, "not in this version: nothing is told or done"]),
  ),
};
const shown = (right: Row["right"], run: string): Row => ({ right, run, isShown: true });
const NODES = "edges { node { id } }";
const ROWS: Record<string, Row> = {
  tool: shown("read", "{ tool(id: $tool) { id } }"),
  "tool by slug": shown("read", "{ tool(slug: $slug) { id } }"),
  tools: shown("read", `{ tools(first: 100) { ${NODES} } }`),
  myTools: shown("readMine", `{ myTools(first: 100) { ${NODES} } }`),
  sharedWithMe: shown("readShared", `{ sharedWithMe(first: 100) { ${NODES} } }`),
  githubConnection: shown("read", "{ githubConnection(id: $connection) { toolId } }"),
  document: shown("read", "{ document(id: $document) { toolId } }"),
  documents: shown("read", "{ documents(first: 100) { edges { node { toolId } } } }"),
  searchDocuments: shown(
    "read",
    '{ searchDocuments(query: "weather", first: 100) { edges { node { document { toolId } } } } }',
  ),
  deployment: shown("read", "{ deployment(id: $deployment) { toolId } }"),
  deployments: shown("read", "{ deployments(first: 100) { edges { node { toolId } } } }"),
  usageRecords: shown("read", "{ usageRecords(first: 100) { edges { node { tool { id } } } } }"),
  task: shown("read", "{ task(id: $task) { toolId } }"),
  tasks: shown("read", "{ tasks(first: 100) { edges { node { toolId } } } }"),
  "the launch's environment": shown(
    "inspect",
    "{ tool(id: $tool) { launch { ... on StdioLaunch { env { value } } } } }",
  ),
  "a deployment's logs": shown("inspect", "{ deployment(id: $deployment) { toolId logs { text } } }"),
  template: { right: "readCatalogue", run: '{ template(id: "time") { id } }' },
  templates: { right: "readCatalogue", run: "{ templates { totalCount } }" },
  me: { right: "account", run: "{ me { id } }" },
  user: { right: "account", run: "{ user(id: $user) { id } }" },
  templateRepository: { right: "administer", run: "{ templateRepository { repository } }" },
  users: { right: "administer", run: "{ users { totalCount } }" },
  auditLog: { right: "administer", run: "{ auditLog { totalCount } }" },

  createTool: {
    right: "make",
    run: 'mutation { createTool(input: { name: "", description: "", launch: {} }) { id } }',
    passes: ["BAD_USER_INPUT"],
  },
  updateTool: {
    right: "write",
    run: "mutation { updateTool(id: $tool, input: { expectedVersion: 99 }) { id } }",
    passes: ["CONFLICT"],
  },
  revertTool: { right: "write", run: "mutation { revertTool(id: $tool, versionNumber: 1) { id } }" },
  deleteTool: {
    right: "share",
    run: "mutation { deleteTool(id: $tool, expectedVersion: 99) { id } }",
    passes: ["CONFLICT"],
  },
  restoreTool: { right: "share", run: "mutation { restoreTool(id: $tool) { id } }" },
  shareTool: {
    right: "share",
    run: 'mutation { shareTool(toolId: $tool, userId: "nobody-there", access: VIEW) { id } }',
    passes: ["NOT_FOUND"],
  },
  unshareTool: {
    right: "share",
    run: 'mutation { unshareTool(toolId: $tool, userId: "nobody-there") { id } }',
    passes: ["NOT_FOUND"],
  },
  connectRepository: {
    right: "write",
    run: 'mutation { connectRepository(input: { toolId: $tool, owner: "acme", repository: "weather" }) { id } }',
    passes: ["CONFLICT"],
  },
  syncRepository: {
    right: "write",
    run: "mutation { syncRepository(connectionId: $connection) { id } }",
    passes: ["CONFLICT"],
  },
  disconnectRepository: { right: "write", run: "mutation { disconnectRepository(connectionId: $connection) { id } }" },
  importServer: { right: "make", run: "mutation { importServer(json: {}) { id } }", passes: ["BAD_USER_INPUT"] },
  deleteTemplate: { right: "make", run: 'mutation { deleteTemplate(id: "nothing") { id } }', passes: ["NOT_FOUND"] },
  createToolFromTemplate: {
    right: "make",
    run: 'mutation { createToolFromTemplate(templateId: "time", input: { name: "" }) { id } }',
    passes: ["BAD_USER_INPUT"],
  },
  uploadDocument: {
    right: "write",
    run: 'mutation { uploadDocument(input: { title: "T", content: "c", toolId: $tool }) { id } }',
    refuses: ["BAD_USER_INPUT"],
  },
  "uploadDocument beside no tool": {
    right: "make",
    run: 'mutation { uploadDocument(input: { title: "T", content: "c" }) { id } }',
  },
  updateDocument: {
    right: "write",
    run: 'mutation { updateDocument(id: $document, input: { title: "Other" }) { id } }',
  },
  deleteDocument: { right: "write", run: "mutation { deleteDocument(id: $spare) }" },
  deployTool: {
    right: "write",
    run: "mutation { deployTool(input: { toolId: $tool, runtime: DOCKER }) { id } }",
    passes: ["PRECONDITION_FAILED", "BAD_USER_INPUT"],
  },
  deployTemplate: {
    right: "make",
    run: 'mutation { deployTemplate(templateId: "time", input: { replicas: 99 }) { id } }',
    passes: ["PRECONDITION_FAILED", "BAD_USER_INPUT"],
  },
  scaleDeployment: { right: "write", run: "mutation { scaleDeployment(id: $deployment, replicas: 1) { id } }" },
  restartDeployment: { right: "write", run: "mutation { restartDeployment(id: $deployment) { id } }" },
  checkDeploymentHealth: { right: "write", run: "mutation { checkDeploymentHealth(id: $deployment) { status } }" },
  stopDeployment: { right: "write", run: "mutation { stopDeployment(id: $stopped) { id } }" },
  analyzeFeasibility: { right: "write", run: "mutation { analyzeFeasibility(input: { toolId: $tool }) { id } }" },
  suggestImprovements: { right: "write", run: "mutation { suggestImprovements(toolId: $tool) { id } }" },
  generateConfig: { right: "write", run: "mutation { generateConfig(input: { toolId: $tool }) { id } }" },
  "generateConfig of a description": {
    right: "make",
    run: 'mutation { generateConfig(input: { description: "It tells the weather" }) { id } }',
  },
  cancelTask: { right: "own", run: "mutation { cancelTask(id: $cancelled) { id } }" },
  createStreamTicket: { right: "credentials", run: "mutation { createStreamTicket { ticket } }" },
  setUserRole: {
    right: "administer",
    run: 'mutation { setUserRole(userId: "nobody-there", role: VIEWER) { id } }',
    passes: ["NOT_FOUND"],
  },
  setUserDisabled: {
    right: "administer",
    run: 'mutation { setUserDisabled(userId: "nobody-there", disabled: true) { id } }',
    passes: ["NOT_FOUND"],
  },
};

/** The value of a variable of each tool. */
const MARK = "a value that not everybody sees";
/** A tool, in one relation to one user, with what belongs to it. */
type Things = Record<
  "tool" | "slug" | "document" | "spare" | "deployment" | "stopped" | "task" | "cancelled" | "connection" | "user",
  string
>;

let dataDir: string;
let installation: Installation;
let introspector: Caller;
const things = new Map<string, Things>();
const callers = new Map<string, Caller>();

async function ask(query: string, variables: Record<string, unknown>, as: Caller): Promise<Record<string, string>> {
  const data = await installation.run<Record<string, Record<string, unknown>>>(query, variables, as);
  const [first = {}] = Object.values(data);
  // Flat objects of texts are all that is asked for here.
  return first as Record<string, string>;
}

async function makeThings(user: string, relation: Relation): Promise<Things> {
  const owner = relation === "author" ? createUserCaller(user, "DEVELOPER") : createUserCaller(maker, "DEVELOPER");
  const name = `T ${things.size}`;
  const launch = {
    stdio: { command: "node", args: ["/srv/server.js"], env: [{ name: "MARK", value: MARK }] },
  };
  const input = { name, description: "", launch };
  const { id: tool = "", slug = "" } = await ask(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
    { input },
    owner,
  );
  if (relation !== "none" && relation !== "author")
    await ask(
      "mutation ($tool: ID!, $user: ID!, $access: ShareAccess!) { shareTool(toolId: $tool, userId: $user, access: $access) { id } }",
      { tool, user, access: relation },
      owner,
    );
  const admin = createUserCaller(administrator, "ADMIN");
  const made = async (mutation: string, as = admin) =>
    (await ask(mutation.replaceAll("$tool", JSON.stringify(tool)), {}, as))["id"] ?? "";
  const deploy = (where: string) => `mutation { deployTool(input: { toolId: $tool, environment: ${where} }) { id } }`;
  const analyse = "mutation { suggestImprovements(toolId: $tool) { id } }";
  const found: Things = {
    tool,
    slug,
    document: await makeDocument(tool),
    spare: "",
    deployment: await made(deploy("PRODUCTION")),
    stopped: await made(deploy("STAGING")),
    task: await made(analyse, owner),
    cancelled: await made(analyse, owner),
    connection: await made(
      'mutation { connectRepository(input: { toolId: $tool, owner: "acme", repository: "weather" }) { id } }',
    ),
    user,
  };
  const usage = createServiceCaller("proxy", ["internal:usage"]);
  const record = {
    at: new Date().toISOString(),
    toolId: tool,
    deploymentId: found.deployment,
    endpoint: "/mcp",
    method: "POST",
    statusCode: 200,
    responseTimeMs: 1,
  };
  await installation.run(
    "mutation ($batch: UsageBatchInput!) { recordUsage(batch: $batch) }",
    { batch: { id: tool, records: [record] } },
    usage,
  );
  return found;
}

const UPLOAD =
  'mutation ($tool: ID!) { uploadDocument(input: { title: "D", content: "weather", toolId: $tool }) { id } }';
/** Of nobody who is asked about: documents belong to their uploaders, too. */
async function makeDocument(tool: string): Promise<string> {
  return (await ask(UPLOAD, { tool }, createUserCaller(administrator, "ADMIN")))["id"] ?? "";
}

const CREATE_KEY = "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }";
const INTROSPECT =
  "query ($key: String!) { introspectCredential(credential: $key) { subject role scopes toolIds apiKeyId } }";
async function makeKey(owner: Caller, scopes: string[], toolIds: string[] | null): Promise<Caller> {
  const { secret: key } = await ask(CREATE_KEY, { input: { name: "k", scopes, toolIds } }, owner);
  const found = (await ask(INTROSPECT, { key }, introspector)) as unknown as Pick<
    Caller,
    "subject" | "role" | "scopes" | "toolIds"
  > & { apiKeyId: string };
  const { apiKeyId, ...data } = found;
  return createCaller({ ...owner, ...data, credential: { type: "api-key", apiKeyId } });
}

let administrator = "";
let maker = "";
beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-permissions-"));
  installation = await openInstallation({ dataDir, start: false });
  introspector = createServiceCaller("gateway", ["internal:introspect"]);
  const register = async (username: string) => {
    const input = { username, email: `${username}@example.com`, password: "yet another phrase 4711" };
    const { register: made } = await installation.run<{ register: { user: { id: string } } }>(
      "mutation ($input: RegisterInput!) { register(input: $input) { user { id } } }",
      { input },
      anonymous,
    );
    return made.user.id;
  };
  const first = await logInFirst();
  maker = await register("maker");
  for (const role of ROLES) {
    const user = await register(`user-${role}`);
    await ask(
      "mutation ($user: ID!, $role: Role!) { setUserRole(userId: $user, role: $role) { id } }",
      { user, role },
      first,
    );
    const session = createUserCaller(user, role);
    for (const relation of RELATIONS) {
      const made = await makeThings(user, relation);
      things.set(`${role} ${relation}`, made);
      callers.set(
        `${role} ${relation} this tool`,
        await makeKey(session, ["READ", "WRITE", "INVOKE", "ADMIN"], [made.tool]),
      );
    }
    const another = things.get(`${role} none`)?.tool ?? "";
    for (const relation of RELATIONS) {
      const other = relation === "none" ? (things.get(`${role} author`)?.tool ?? "") : another;
      callers.set(
        `${role} ${relation} another tool`,
        await makeKey(session, ["READ", "WRITE", "INVOKE", "ADMIN"], [other]),
      );
    }
    callers.set(`${role} session`, session);
    for (const scope of ["READ", "WRITE", "INVOKE", "ADMIN"])
      callers.set(`${role} ${scope}`, await makeKey(session, [scope], null));
  }
});
afterAll(async () => {
  await installation?.[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true, force: true });
});

/** The first administrator, logged in a moment ago. */
async function logInFirst(): Promise<Caller> {
  // The first of the installation's is identity.
  const { userId } = await (installation.subgraphs[0] as IdentitySubgraph).ensureFirstAdministrator();
  administrator = userId ?? "";
  const password = (await readFile(join(dataDir, "admin-password"), "utf8")).trim();
  const { accessToken = "" } = await ask(
    'mutation ($password: String!) { login(username: "admin", password: $password) { accessToken } }',
    { password },
    anonymous,
  );
  return createTokenVerifier({ keys: { secretKeys: SECRET_KEYS } }).verify(accessToken);
}

function isExpected(right: Right, role: Role, relation: Relation, credential: Credential): boolean {
  if (!right.has(role, relation)) return false;
  if (credential === "session") return true;
  if (credential === "this tool") return right.ofTool;
  if (credential === "another tool") return false;
  // WRITE and ADMIN include READ.
  return credential === right.scope || (right.scope === "READ" && credential !== "INVOKE");
}

async function isAllowed({ run, passes = [], refuses = [], isShown }: Row, of: Things, as: Caller): Promise<boolean> {
  const query = run.replaceAll(/\$(\w+)/g, (_, name: keyof Things) => JSON.stringify(of[name]));
  try {
    const answer = JSON.stringify(await installation.run(query, {}, as));
    if (!isShown) return true;
    return answer.includes(of.tool) || answer.includes(MARK);
  } catch (error) {
    if (!(error instanceof ToolyardError)) throw error;
    if (passes.includes(error.code)) return true;
    if (["FORBIDDEN", "NOT_FOUND", ...refuses].includes(error.code)) return false;
    throw error;
  }
}

/** By a scope: once for each role, with the tools of most and of fewest rights. Otherwise with every tool. */
const relationsOf = (credential: Credential): readonly Relation[] =>
  ["session", "this tool", "another tool"].includes(credential) ? RELATIONS : ["none", "author"];

test.each(Object.entries(ROWS))("%s is allowed as the table says", async (_name, row) => {
  const right = RIGHTS[row.right];
  const wrong: string[] = [];
  for (const role of ROLES)
    for (const credential of CREDENTIALS)
      for (const relation of relationsOf(credential)) {
        const of = things.get(`${role} ${relation}`);
        const caller = callers.get(`${role} ${credential}`) ?? callers.get(`${role} ${relation} ${credential}`);
        if (!of || !caller) throw new Error("It is not made.");
        const spare = row.run.includes("$spare") ? await makeDocument(of.tool) : "";
        const allowed = await isAllowed(row, { ...of, spare }, caller);
        if (allowed !== isExpected(right, role, relation, credential))
          wrong.push(`${role}, ${relation}, ${credential}: ${allowed ? "allowed" : "refused"}`);
      }
  expect(wrong).toEqual([]);
});

test.each([
  ["toolChanged", "toolId"],
  ["taskUpdated", "task { toolId }"],
  ["deploymentEvents", "toolId"],
])(
  "%s tells a key that is limited to a tool of that tool alone, and everybody else of all",
  async (field, selection) => {
    for (const role of ROLES) {
      // Neither the first nor the last of the log.
      const { tool = "" } = things.get(`${role} USE`) ?? {};
      const first = async (caller: Caller | undefined) => {
        const events = installation.stream(`subscription { ${field}(after: "0") { ${selection} } }`, caller);
        for await (const event of events) return JSON.stringify(event);
        return "";
      };
      expect(await first(callers.get(`${role} USE this tool`))).toContain(tool);
      expect(await first(callers.get(`${role} READ`))).not.toContain(tool);
    }
  },
);

test("every query and mutation of the graph has a row", async () => {
  const sdl = await readFile(join(import.meta.dirname, "../../schema/api.graphql"), "utf8");
  const fields = parse(sdl).definitions.flatMap((definition) =>
    definition.kind === Kind.OBJECT_TYPE_DEFINITION && ["Query", "Mutation"].includes(definition.name.value)
      ? (definition.fields ?? []).map(({ name }) => name.value)
      : [],
  );
  expect(fields.filter((name) => ROWS[name] === undefined && OTHERWISE[name] === undefined)).toEqual([]);
  expect(Object.keys(OTHERWISE).filter((name) => !fields.includes(name))).toEqual([]);
});
