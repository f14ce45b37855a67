import type { ReplicaHandle, Runtime } from "@toolyard/runtimes/runtime.ts";
import { expect, test } from "vitest";
import type { Deployment } from "../deployment.ts";
import { adviceFor } from "./process-end.ts";

const handle = { name: "weather-1-0" } as ReplicaHandle;
const advice = (kind: "image" | "http", ...lines: string[]) => {
  const runtime = { logs: async () => lines.map((text) => ({ at: 0, stream: "STDERR", text })) } as unknown as Runtime;
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
  for (const lines of [thrown, [nginx]]) expect(await advice("image", ...lines)).toContain("writablePaths");
  expect(await advice("image", "listening", "Error: ENOSPC")).toBeNull();
  // There they are folders of the host.
  expect(await advice("http", ...thrown)).toBeNull();
});
