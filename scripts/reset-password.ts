/**
 * `npm run reset-password -- USERNAME`, on Toolyard's own host: gives a user another password, prints it once, and ends their sessions and
 * API keys. Toolyard may run meanwhile. The password is never taken from the command line.
 */
import { parseArgs } from "node:util";
import { createLogger, messageOf } from "@toolyard/service-kit";
import { resetPasswordOnHost } from "@toolyard/subgraph-identity";
import { createTerminal } from "../cli/terminal.ts";
import { UsageError } from "../cli/usage-error.ts";
import { readInstallation } from "./installation.ts";

const USAGE = `Usage: npm run reset-password -- USERNAME [--prompt | --password-stdin]

Gives a user another password, as who may write to DATA_DIR (or knows DATABASE_URL, where that is set), and ends all their sessions and API
keys. Toolyard may run or not.
Without an option a password is made and printed once.

  --prompt            Ask for the password; it is not shown.
  --password-stdin    Read it from stdin.
`;

const terminal = createTerminal(process);
try {
  const { positionals, values } = parsed();
  const [username, ...more] = positionals;
  if (values.help) {
    terminal.print(USAGE);
  } else {
    if (username === undefined) throw new UsageError(`Whose? Name the user.\n\n${USAGE}`);
    if (more.length > 0) {
      throw new UsageError(`A password does not belong on a command line, where others can read it.\n\n${USAGE}`);
    }
    const given = values.prompt
      ? await terminal.askHidden(`New password of ${username}`)
      : values["password-stdin"]
        ? (await terminal.readInput("The password")).replace(/\r?\n$/, "")
        : null;
    const place = await readInstallation();
    const logger = createLogger({ level: "warn", name: "reset-password" });
    const reset = await resetPasswordOnHost({ place, username, password: given, logger });
    terminal.print(
      [
        given === null
          ? `The new password of ${reset.username}, shown this once: ${reset.password}`
          : `${reset.username} has the new password.`,
        "All of their sessions and API keys have ended.",
        ...(reset.disabled ? ["The account is disabled: an administrator enables it by setUserDisabled."] : []),
      ].join("\n"),
    );
  }
} catch (error) {
  terminal.say(messageOf(error));
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        prompt: { type: "boolean" },
        "password-stdin": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${USAGE}`);
  }
}
