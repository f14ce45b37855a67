import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { defineCommand, type CommandContext } from "../command.ts";
import { DEFAULT_USERNAME } from "../defaults.ts";
import { ask, GraphError, SESSION_FIELDS, storedSession, type Session } from "../graph.ts";
import { UsageError } from "../usage-error.ts";

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

export const login = defineCommand({
  name: "login",
  summary: "Log in; the session is kept for the other commands.",
  usage: "[--username NAME] [--password-stdin]",
  positionals: [0, 0],
  options: { username: { type: "string", short: "u" }, "password-stdin": { type: "boolean" } },
  help: `  --username NAME     ${DEFAULT_USERNAME} unless given.
  --password-stdin    Read the password from stdin.

On Toolyard's own host the first administrator's generated password is taken from DATA_DIR/admin-password, while that is
there. Otherwise it is asked for, and not shown. It is kept for 30 days in $XDG_CONFIG_HOME/toolyard (~/.config/toolyard), which
only you can read; never the password, and never on a command line.`,
  async run(context, { values }) {
    const { url, terminal, sessions, env } = context;
    const username = values.username ?? (env["ADMIN_USERNAME"] || DEFAULT_USERNAME);
    const kept = values.username === undefined && !values["password-stdin"] ? await keptPassword(context) : null;
    let session: Session;
    try {
      const password = kept?.password ?? (await passwordOf(context, username, values["password-stdin"] === true));
      session = await logIn(url, username, password);
    } catch (error) {
      if (kept === null || !isRefused(error)) throw error;
      // The file may be older than the password.
      if (!terminal.isInteractive) {
        throw new GraphError(
          "UNAUTHENTICATED",
          `${error.message} It was taken from ${kept.file}, which belongs to another account or is out of date. Give it by --password-stdin, or on the host a new one by: npm run reset-password -- ${username}`,
        );
      }
      terminal.say(`The password in ${kept.file} is not ${username}'s.`);
      session = await logIn(url, username, await terminal.askHidden(`Password of ${username} at ${url}`));
    }
    await sessions.set(url, storedSession(session, Date.now()));
    terminal.print(`Logged in to ${url} as ${session.user.username} (${session.user.role}).`);
  },
});

async function passwordOf({ terminal, url }: CommandContext, username: string, fromInput: boolean): Promise<string> {
  if (!fromInput && terminal.isInteractive) return terminal.askHidden(`Password of ${username} at ${url}`);
  // `echo` adds a line break, which is not part of it.
  const password = (await terminal.readInput("The password")).replace(/\r?\n$/, "");
  if (password === "")
    throw new UsageError("No password came on stdin. Pipe it in, or log in on a terminal, which asks for it.");
  return password;
}

function logIn(url: string, username: string, password: string): Promise<Session> {
  const query = `mutation ($username: String!, $password: String!) {
    login(username: $username, password: $password) { ${SESSION_FIELDS} }
  }`;
  return ask<{ login: Session }>(url, null, query, { username, password }).then((data) => data.login);
}

function isRefused(error: unknown): error is GraphError {
  return error instanceof GraphError && error.code === "UNAUTHENTICATED";
}

/** The password that Toolyard generated, where this is its host: it is sent nowhere else. */
async function keptPassword({ url, dataDir }: CommandContext): Promise<{ password: string; file: string } | null> {
  if (!LOOPBACK.test(new URL(url).hostname)) return null;
  const file = join(dataDir, "admin-password");
  try {
    return { password: (await readFile(file, "utf8")).trim(), file };
  } catch (error) {
    if (["ENOENT", "EACCES", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) return null;
    throw error;
  }
}

export const logout = defineCommand({
  name: "logout",
  summary: "End the session, here and at Toolyard.",
  usage: "",
  positionals: [0, 0],
  options: {},
  help: "",
  async run({ url, graph, sessions, terminal }) {
    if (!(await sessions.get(url))) {
      terminal.print(`You are not logged in to ${url}.`);
      return;
    }
    try {
      await graph.query("mutation { logout }");
    } catch (error) {
      if (!(error instanceof GraphError) || error.code !== "NOT_LOGGED_IN") throw error; // it had ended before
    }
    await sessions.set(url, null);
    terminal.print(`Logged out of ${url}.`);
  },
});

export const token = defineCommand({
  name: "token",
  summary: "Print an access token, for curl and the page at /graphql.",
  usage: "",
  positionals: [0, 0],
  options: {},
  help: "It is good for at least a minute, at most 15. It ends with the session, at logout.",
  async run({ graph, terminal }) {
    await graph.query("{ me { id } }"); // Renews one that ended before its time.
    terminal.write(`${await graph.token()}\n`);
  },
});
