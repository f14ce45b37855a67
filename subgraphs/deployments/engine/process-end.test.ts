import type { ReplicaHandle, Runtime } from "@toolyard/runtimes/runtime.ts";
import { expect, test } from "vitest";
import type { Deployment } from "../deployment.ts";
import { adviceFor } from "./process-end.ts";

const handle = { name: "weather-1-0" } as ReplicaHandle;
const advice = (kind: "image" | "http" | "stdio", lines: string[], on: Runtime["kind"] = "DOCKER") => {
  const logs = async () => lines.map((text) => ({ at: 0, stream: "STDERR", text }));
  const runtime = { kind: on, logs } as unknown as Runtime;
  return adviceFor({ launch: { kind } } as Deployment, runtime, handle);
};
/** As Node prints it. */
const thrown = [
  "Error: EROFS: read-only file system, open '/app/cache.json'",
  "    at writeFileSync (node:fs:2425:20) {",
  "  code: 'EROFS'",
  "}",
  "",
  "Node.js v24.0.0",
];

test("a server whose image is read-only where it writes is told of writablePaths", async () => {
  const nginx = 'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)';
  for (const lines of [thrown, [nginx]]) expect(await advice("image", lines)).toContain("writablePaths");
  expect(await advice("image", ["listening", "Error: ENOSPC"])).toBeNull();
  // There they are folders of the host.
  expect(await advice("http", thrown)).toBeNull();
});

test("a command that a container does not have is told where it has to be", async () => {
  for (const line of ["bridge: command not found in PATH: uvx", "bridge: no executable file at /opt/server"]) {
    expect(await advice("stdio", [line])).toContain("in the image of MCP_RUNNER_IMAGE");
    expect(await advice("stdio", [line], "PROCESS")).toBeNull();
  }
  const init = "ERROR (catatonit:6): failed to exec pid1: No such file or directory";
  expect(await advice("image", [init])).toContain("Its image has no such command");
});
