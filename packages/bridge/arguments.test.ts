import { expect, test } from "vitest";
import { LIMITS } from "@toolyard/launch/limits.ts";

import { bridgeCommand, parseArguments, UsageError } from "./arguments.ts";

test("what bridgeCommand builds is what parseArguments reads", () => {
  const { args } = bridgeCommand({
    host: "::1",
    port: 8101,
    sessions: "shared",
    timeoutSeconds: 7,
    startTimeoutSeconds: 600,
    maxMessageBytes: 1_000_000,
    memoryMb: 512,
    maxTasks: 300,
    command: "npx",
    args: ["-y", "--", "thing", "--port", "1"],
    workingDirectory: "/here",
  });
  const script = args.findIndex((arg) => arg.endsWith(".mjs"));
  expect(parseArguments(args.slice(script + 1))).toEqual({
    host: "::1",
    port: 8101,
    listenFd: null,
    sessions: "shared",
    maxSessions: LIMITS.stdio.maxSessions.whenNull,
    idleSeconds: LIMITS.stdio.idleSeconds.whenNull,
    timeoutSeconds: 7,
    startTimeoutSeconds: 600,
    maxMessageBytes: 1_000_000,
    memoryMb: 512,
    maxTasks: 300,
    workingDirectory: "/here",
    command: "npx",
    args: ["-y", "--", "thing", "--port", "1"],
  });
});

test.each([
  [["--port", "1"], "no command"],
  [["--port", "1", "--"], "no command"],
  [["--", "x"], "--port is missing"],
  [["--port", "70000", "--", "x"], "--port must be a whole number"],
  [["--port", "1", "--sessions", "some", "--", "x"], "--sessions must be"],
  [["--port", "1", "--max-message-bytes", "10", "--", "x"], "--max-message-bytes must be a whole number from 65536"],
  [["--port", "1", "--colour", "red", "--", "x"], "unknown option --colour"],
  [["--port", "1", "--listen-fd", "3", "--", "x"], "exclude each other"],
  [["--port", "--", "x"], "--port needs a value"],
])("%j is refused with a reason", (argv, reason) => {
  expect(() => parseArguments(argv)).toThrow(UsageError);
  expect(() => parseArguments(argv)).toThrow(reason);
});
