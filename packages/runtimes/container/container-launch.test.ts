import { expect, test } from "vitest";
import type { ReplicaLaunch, ReplicaSpec } from "../runtime.ts";
import { containerLaunch } from "./container-launch.ts";
import { TRUST_FOLDER } from "./passed-on.ts";

const program = { command: "server", args: ["--fast"], env: { KEY: "v" }, workingDirectory: "/srv", writablePaths: [] };
const stdio: ReplicaLaunch = {
  ...program,
  kind: "stdio",
  sessions: "SHARED",
  timeoutSeconds: 30,
  startTimeoutSeconds: 60,
  maxSessions: null,
  idleSeconds: null,
  maxMessageBytes: null,
};
const http: ReplicaLaunch = { ...program, kind: "http" };
const image = (writablePaths: string[]): ReplicaLaunch => ({
  kind: "image",
  image: "weather:1",
  args: [],
  env: {},
  writablePaths,
  port: 3_000,
});
const specOf = (launch: ReplicaLaunch): ReplicaSpec => ({
  replicaId: "replica",
  deploymentId: "deployment",
  userId: "user",
  name: "weather-1",
  launch,
  host: "127.0.0.1",
  port: null,
  token: "the-token",
  secrets: ["the-secret"],
  resources: { cpus: null, memoryMb: 100, processes: null, diskMb: null },
});

test("a server on stdio runs under a bridge that is told all secrets by its environment", () => {
  const { entrypoint, args, env, port, logKey } = containerLaunch(specOf(stdio), "runner:1");
  const line = [...(entrypoint ?? []), ...args].join(" ");
  expect(line).toMatch(/^node .*--host 0\.0\.0\.0 .*--sessions shared .*-- server --fast$/);
  expect(line).toContain(`--port ${port}`);
  expect(line).toContain("--memory-mb 100");
  expect(line).not.toContain("the-token");
  const [handover] = Object.values(env);
  expect(Object.keys(env)).toHaveLength(1);
  expect(JSON.parse(handover ?? "")).toMatchObject({
    token: "the-token",
    secrets: ["the-secret"],
    logKey,
    environment: { KEY: "v", HOME: "/tmp" },
  });
});

test("a command that speaks HTTP is the container's own", () => {
  expect(containerLaunch(specOf(http), "runner:1")).toMatchObject({
    image: "runner:1",
    entrypoint: ["server"],
    args: ["--fast"],
    env: { KEY: "v" },
    workingDirectory: "/srv",
  });
});

test("an image may write to the folders that its launch names, and to /tmp anyway", () => {
  const paths = ["/app", "/etc", "/tmp", `${TRUST_FOLDER}-of-its-own`];
  const { writablePaths } = containerLaunch(specOf(image(paths)), null);
  expect(writablePaths).toEqual(paths.filter((path) => path !== "/tmp"));
});

test.each<[string, ReplicaLaunch, string | null]>([
  ["a command without an image to run it in", stdio, null],
  ["folders of the host", { ...http, writablePaths: ["/srv/notes"] }, "runner:1"],
  ["to write to Toolyard's certificates", image([TRUST_FOLDER]), null],
  ["to write below them", image([`${TRUST_FOLDER}/more`]), null],
  ["what others run", { kind: "remote", url: "https://mcp.example.com" }, "runner:1"],
])("%s is refused", (_, launch, runner) => {
  expect(() => containerLaunch(specOf(launch), runner)).toThrow(expect.objectContaining({ code: "BAD_USER_INPUT" }));
});
