import { defineCommand } from "../command.ts";
import { allTools } from "../tools.ts";
import { table } from "../terminal.ts";
import { UsageError } from "../usage-error.ts";

interface ListedKey {
  id: string;
  name: string;
  scopes: string[];
  toolIds: string[] | null;
  createdAt: string;
  lastUsedAt: string | null;
  expiresAt: string | null;
  revokedAt: string | null;
}

const LIST = "{ me { apiKeys { id name scopes toolIds createdAt lastUsedAt expiresAt revokedAt } } }";
const SCOPES = ["READ", "WRITE", "INVOKE", "ADMIN"];

export const apiKeys = defineCommand({
  name: "api-keys",
  summary: "Print your API keys, with their scopes and tools.",
  usage: "[--json]",
  positionals: [0, 0],
  options: { json: { type: "boolean" } },
  help: "  --json    All of it as JSON, with those that are revoked.",
  async run({ graph, terminal, hint }, { values }) {
    const { me } = await graph.query<{ me: { apiKeys: ListedKey[] } }>(LIST);
    if (values.json) {
      terminal.write(`${JSON.stringify(me.apiKeys, null, 2)}\n`);
      return;
    }
    const live = me.apiKeys.filter(({ revokedAt }) => revokedAt === null);
    const limited = live.some(({ toolIds }) => toolIds !== null);
    const slugs = new Map(limited ? (await allTools(graph)).map(({ id, slug }) => [id, slug]) : []);
    const rows = live.map((key) => [
      key.name,
      key.id,
      key.scopes.join(" "),
      key.toolIds?.map((id) => slugs.get(id) ?? id).join(" ") ?? "all",
      key.lastUsedAt ?? "never",
      key.expiresAt ?? "never",
    ]);
    terminal.print(
      rows.length === 0
        ? `You have no API key. Make one: ${hint("create-api-key NAME --scope READ")}`
        : table([["NAME", "ID", "SCOPES", "TOOLS", "LAST USED", "ENDS"], ...rows]),
    );
  },
});

export const createApiKey = defineCommand({
  name: "create-api-key",
  summary: "Make an API key, limited to scopes and, where you name them, to tools.",
  usage: "NAME --scope SCOPE … [--tool TOOL …] [--expires TIME]",
  positionals: [1, 1],
  options: {
    scope: { type: "string", multiple: true },
    tool: { type: "string", multiple: true },
    expires: { type: "string" },
  },
  help: `  --scope SCOPE     One of ${SCOPES.join(", ")}; several times for several.
  --tool TOOL       A tool's name or id; several times for several. The key is for these and what belongs to them alone.
  --expires TIME    When it ends, as in 2030-01-31 or 2030-01-31T12:00:00Z; never unless given.

The key is printed this once, and nothing else on stdout.`,
  async run({ graph, terminal }, { positionals: [name = ""], values }) {
    const scopes = (values.scope ?? []).map((scope) => scope.toUpperCase());
    const unknown = scopes.find((scope) => !SCOPES.includes(scope));
    if (scopes.length === 0 || unknown !== undefined)
      throw new UsageError(`--scope takes one of ${SCOPES.join(", ")}${unknown ? `, not ${unknown}` : ""}.`);
    const { createApiKey: made } = await graph.query<{ createApiKey: { secret: string } }>(
      "mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }",
      {
        input: {
          name,
          scopes,
          ...(values.tool && { toolIds: values.tool }),
          ...(values.expires !== undefined && { expiresAt: timeOf(values.expires) }),
        },
      },
    );
    terminal.write(`${made.secret}\n`);
  },
});

function timeOf(text: string): string {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new UsageError(`--expires takes a time, not ${JSON.stringify(text)}.`);
  return new Date(time).toISOString();
}

export const revokeApiKey = defineCommand({
  name: "revoke-api-key",
  summary: "End an API key of yours at once.",
  usage: "NAME",
  positionals: [1, 1],
  options: {},
  help: "  NAME    Its name, or its id.",
  async run({ graph, terminal }, { positionals: [name = ""] }) {
    await graph.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: name });
    terminal.print(`The API key ${name} is revoked.`);
  },
});
