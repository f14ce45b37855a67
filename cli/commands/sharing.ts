import { defineCommand } from "../command.ts";
import { GraphError } from "../graph.ts";
import { table } from "../terminal.ts";
import { UsageError } from "../usage-error.ts";

interface ListedShare {
  access: string;
  userId: string;
  /** Null where the user is not there any more. */
  user: { username: string; email: string | null } | null;
  createdAt: string;
}

const ACCESSES = ["view", "use", "edit"];
const SHARES = "sharedWith { access userId user { username email } createdAt }";

export const share = defineCommand({
  name: "share",
  summary: "Share a tool of yours with a user, or print with whom it is shared.",
  usage: "NAME [USER ACCESS] [--json]",
  positionals: [1, 3],
  options: { json: { type: "boolean" } },
  help: `  USER      The user's id; administrators may give the username.
  ACCESS    view: a developer sees its launch's values and its logs; use: they call it, viewers as well; edit: a developer
            changes and deploys it, too. Each includes those before it; a second time it changes the access.
  --json    The list as JSON.`,
  async run({ graph, terminal, hint }, { positionals: [name = "", user, access], values }) {
    if (user !== undefined) {
      if (access === undefined || !ACCESSES.includes(access.toLowerCase()))
        throw new UsageError(`share takes one of ${ACCESSES.join(", ")} after the user.`);
      await graph.query(
        "mutation ($toolId: ID!, $userId: ID!, $access: ShareAccess!) { shareTool(toolId: $toolId, userId: $userId, access: $access) { id } }",
        { toolId: name, userId: user, access: access.toUpperCase() },
      );
      terminal.print(`${name} is shared with ${user} (${access.toUpperCase()}).`);
      return;
    }
    const { tool } = await graph.query<{ tool: { sharedWith: ListedShare[] } | null }>(
      `query ($id: ID!) { tool(id: $id) { ${SHARES} } }`,
      { id: name },
    );
    if (!tool) throw new GraphError("NOT_FOUND", `There is no tool ${JSON.stringify(name)}.`);
    if (values.json) {
      terminal.write(`${JSON.stringify(tool.sharedWith, null, 2)}\n`);
      return;
    }
    const rows = tool.sharedWith.map((each) => [each.user?.username ?? "", each.userId, each.access, each.createdAt]);
    terminal.print(
      rows.length === 0
        ? `${name} is shared with nobody. Share it: ${hint(`share ${name} USER use`)}`
        : table([["USER", "ID", "ACCESS", "SINCE"], ...rows]),
    );
  },
});

export const unshare = defineCommand({
  name: "unshare",
  summary: "Share a tool with a user no longer; calls and streams of theirs end.",
  usage: "NAME USER",
  positionals: [2, 2],
  options: {},
  help: "  USER    The user's id; administrators may give the username.",
  async run({ graph, terminal }, { positionals: [name = "", user = ""] }) {
    await graph.query(
      "mutation ($toolId: ID!, $userId: ID!) { unshareTool(toolId: $toolId, userId: $userId) { id } }",
      { toolId: name, userId: user },
    );
    terminal.print(`${name} is not shared with ${user}.`);
  },
});
