import { defineCommand } from "../command.ts";
import { allPages } from "../pages.ts";
import { table } from "../terminal.ts";
import { UsageError } from "../usage-error.ts";

interface ListedUser {
  id: string;
  username: string;
  email: string | null;
  role: string;
  disabled: boolean;
  createdAt: string;
}

const ROLES = ["viewer", "developer", "admin"];
const LIST = `query ($search: String, $first: Int, $after: String) {
  users(search: $search, first: $first, after: $after) {
    edges { node { id username email role disabled createdAt } }
    pageInfo { hasNextPage endCursor }
  }
}`;

export const users = defineCommand({
  name: "users",
  summary: "Print all users with their roles; for administrators.",
  usage: "[TEXT] [--json]",
  positionals: [0, 1],
  options: { json: { type: "boolean" } },
  help: "  TEXT      Only those whose username or email contains it.\n  --json    All of it as JSON.",
  async run({ graph, terminal, hint }, { positionals: [search], values }) {
    const found = await allPages<ListedUser>(graph, "users", LIST, { search });
    if (values.json) {
      terminal.write(`${JSON.stringify(found, null, 2)}\n`);
      return;
    }
    const rows = found.map(({ id, username, email, role, disabled, createdAt }) => [
      username,
      role,
      disabled ? "disabled" : "",
      email ?? "",
      id,
      createdAt,
    ]);
    terminal.print(
      rows.length === 0
        ? "There is no such user."
        : `${table([["USER", "ROLE", "", "EMAIL", "ID", "SINCE"], ...rows])}\n\nGive a role: ${hint("set-role USER ROLE")}`,
    );
  },
});

export const setRole = defineCommand({
  name: "set-role",
  summary: "Give a user a role; for administrators.",
  usage: "USER ROLE",
  positionals: [2, 2],
  options: {},
  help: `  USER    The username or the id.
  ROLE    viewer: looks on, and calls what is shared with them; developer: registers and deploys tools of their own; admin:
          everything. The user logs in again.`,
  async run({ graph, terminal }, { positionals: [user = "", role = ""] }) {
    if (!ROLES.includes(role.toLowerCase()))
      throw new UsageError(`set-role takes one of ${ROLES.join(", ")} after the user.`);
    const { setUserRole: changed } = await graph.query<{ setUserRole: Pick<ListedUser, "username" | "role"> }>(
      "mutation ($userId: ID!, $role: Role!) { setUserRole(userId: $userId, role: $role) { username role } }",
      { userId: user, role: role.toUpperCase() },
    );
    terminal.print(`${changed.username} is ${changed.role}.`);
  },
});
