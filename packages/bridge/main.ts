import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { parseArguments, UsageError, WARM_UP_FLAG } from "./arguments.ts";
import { takeHandover } from "./child/handover.ts";
import { LaunchError, prepareLaunch, type SpawnedProcess, spawnProcess } from "./child/spawn.ts";

/** sysexits: the command line, or the command in it, cannot be run (EX_CONFIG); another try would not help. */
const EXIT_CONFIG = 78;
const EXIT_FAILED = 1;

function fail(message: string, exitCode: number): never {
  process.stderr.write(`bridge: ${message}\n`);
  process.exit(exitCode);
}

function prepare() {
  try {
    const options = parseArguments(process.argv.slice(2));
    const { command, args, workingDirectory } = options;
    const { token, secrets, logKey, memoryKillCounts, ...handedOver } = takeHandover(process.env);
    return {
      options,
      token,
      secrets,
      logKey,
      memoryKillCounts,
      launch: prepareLaunch({ command, args, workingDirectory, ...handedOver }),
    };
  } catch (error) {
    if (error instanceof UsageError || error instanceof LaunchError) fail(error.message, EXIT_CONFIG);
    throw error;
  }
}

if (process.argv[2] === WARM_UP_FLAG) {
  await import("./bridge.ts");
  process.exit(0);
}

const { options, token, secrets, logKey, memoryKillCounts, launch } = prepare();
// The server starts while the bridge is still loading itself: on a cold deployment both are on the critical path.
let first: SpawnedProcess;
try {
  first = spawnProcess(launch);
} catch (error) {
  fail(`the server could not be started: ${messageOf(error)}`, EXIT_FAILED);
}
const killFirst = (): void => {
  if (first.process.pid !== undefined && first.process.exitCode === null && first.process.signalCode === null)
    process.kill(-first.process.pid, "SIGKILL");
};
process.once("exit", killFirst);

const { createBridge } = await import("./bridge.ts");

// The log's reader may go away; the server must go on.
process.stdout.on("error", () => undefined);

let bridge: ReturnType<typeof createBridge>;
try {
  const { command: _command, args: _args, workingDirectory: _folder, port, ...settings } = options;
  bridge = createBridge({
    ...settings,
    launch,
    first,
    port: port ?? 0,
    token,
    secrets,
    logKey,
    memoryKillCounts,
    writeLog: (line) => process.stdout.write(line),
  });
} catch (error) {
  fail(messageOf(error), EXIT_CONFIG);
}
process.off("exit", killFirst);
process.once("exit", () => bridge.kill());

let stopping = false;
function stop(): void {
  // A second signal ends at once.
  if (stopping) process.exit(EXIT_FAILED);
  stopping = true;
  bridge.close().then(
    () => process.exit(0),
    (error: unknown) => fail(String(error), EXIT_FAILED),
  );
}
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, stop);

try {
  await bridge.listen();
} catch (error) {
  fail(
    `cannot listen on ${options.listenFd === null ? `${options.host}:${options.port}` : "the socket that it was given"}: ${messageOf(error)}`,
    EXIT_FAILED,
  );
}
