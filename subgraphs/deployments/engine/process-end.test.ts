import { expect, test } from "vitest";
import { describeEnd, withAdvice } from "./process-end.ts";

const ENDED = "The server exited with code 1.";
const ENTRY = "/home/ada/server.mjs";
/** What is said after a reason; null: nothing. */
const advice = (kind: "image" | "http" | "stdio", lines: string[], runtime = "DOCKER") =>
  withAdvice(ENDED, { launch: { kind, args: ["--verbose", ENTRY] }, runtime }, lines).slice(ENDED.length + 1) || null;
test("a server that ends soon after its start is said to have ended at once", () => {
  const end = { alive: false, exitCode: 1, signal: null, detail: null } as const;
  const ended = (since: number, more: object = {}) =>
    describeEnd({ state: { phase: "STARTING", since } }, { ...end, ...more }, 6_000);
  expect(ended(5_000)).toBe("The server exited with code 1 at once.");
  expect(ended(0)).toBe("The server exited with code 1.");
  const killed = { exitCode: null, signal: "SIGKILL", why: "It ran out of memory." };
  expect(ended(0, killed)).toBe("The server was killed by SIGKILL. It ran out of memory.");
  expect(ended(5_000, { exitCode: null })).toBe("The server is gone; nobody saw how it ended.");
});

/** As Node prints it. */
const thrown = [
  "Error: EROFS: read-only file system, open '/app/cache.json'",
  "    at writeFileSync (node:fs:2425:20) {",
  "  code: 'EROFS'",
  "}",
  "",
  "Node.js v24.0.0",
];

test("a server whose image is read-only where it writes is told of writablePaths", () => {
  const nginx = 'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)';
  for (const lines of [thrown, [nginx]]) expect(advice("image", lines)).toContain("writablePaths");
  expect(advice("image", ["listening", "Error: ENOSPC"])).toBeNull();
  // There they are folders of the host.
  expect(advice("http", thrown)).toBeNull();
});

test("a command that a container does not have is told where it has to be", () => {
  for (const line of ["bridge: command not found in PATH: uvx", "bridge: no executable file at /opt/server"]) {
    expect(advice("stdio", [line])).toContain("in the image of MCP_RUNNER_IMAGE");
    expect(advice("stdio", [line], "PROCESS")).toBeNull();
  }
  const init = "ERROR (catatonit:6): failed to exec pid1: No such file or directory";
  expect(advice("image", [init])).toContain("Its image has no such command");
});

test("a file of the host that a container does not have is told as that", () => {
  for (const line of [
    `Error: Cannot find module '${ENTRY}'`,
    `python3: can't open file '${ENTRY}': [Errno 2] No such file or directory`,
    `sh: 0: cannot open ${ENTRY}: No such file`,
    `error: Module not found "file://${ENTRY}".`,
  ]) {
    for (const kind of ["stdio", "http"] as const) expect(advice(kind, [line])).toContain("none of the host's files");
    expect(advice("stdio", [line], "KUBERNETES")).toContain("none of the host's files");
    expect(advice("stdio", [line], "PROCESS")).toBeNull();
    // There its args are paths in the image.
    expect(advice("image", [line])).toBeNull();
  }
  expect(advice("stdio", ["Error: Cannot find module '/app/other.mjs'", `${ENTRY}: listening`])).toBeNull();
});
