import { ToolyardError, parseInput, type Problem } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { launchInput } from "./launch-input.ts";

function problemsOf(launch: unknown): Problem[] {
  try {
    parseInput(launchInput, launch, "input.launch");
    return [];
  } catch (error) {
    if (!(error instanceof ToolyardError)) throw error;
    expect(error.code).toBe("BAD_USER_INPUT");
    // badInput puts them there.
    return error.extensions.problems as Problem[];
  }
}

const pathsOf = (launch: unknown) => problemsOf(launch).map(({ path }) => path);
const stdio = (extra: object) => ({ stdio: { command: "node", ...extra } });
const envOf = (...variables: object[]) => stdio({ env: variables });
const image = (writablePaths: string[]) => ({ image: { image: "a", writablePaths } });
const remote = (extra: object) => ({ remote: { url: "https://example.com/mcp", ...extra } });

describe("a launch", () => {
  test("is exactly one of four", () => {
    expect(problemsOf({})).toEqual([
      { path: "input.launch", message: "set exactly one of stdio, http, image and remote; none is set" },
    ]);
    expect(problemsOf({ ...stdio({}), image: { image: "a" } })[0]?.message).toContain("stdio and image are set");
    expect(pathsOf({ ...stdio({}), http: null })).toEqual([]);
  });

  test("has every default filled in, also where null is given", () => {
    const nulls = {
      args: null,
      env: null,
      workingDirectory: null,
      sessions: null,
      options: { health: null, timeoutSeconds: null, enforceApproval: null, resources: {}, egress: null },
    };
    const parsed = parseInput(launchInput, stdio(nulls));
    expect(parsed).toEqual(parseInput(launchInput, stdio({})));
    expect(parsed).toMatchObject({
      kind: "stdio",
      args: [],
      env: [],
      sessions: "ISOLATED",
      options: { resources: null, health: { intervalSeconds: 10 } },
    });
  });

  test("has its egress list in lower case and once each; without one nothing is stored, so that digests stay", () => {
    const allow = ["API.Example.com", "api.example.com", "10.0.0.0/8:5432"];
    expect(parseInput(launchInput, stdio({ options: { egress: { allow } } })).options.egress).toEqual({
      allow: ["api.example.com", "10.0.0.0/8:5432"],
    });
    expect(JSON.stringify(parseInput(launchInput, stdio({})))).not.toContain("egress");
    const listed = { options: { egress: { allow: ["ok.example", "https://no.example/"] } } };
    expect(pathsOf(stdio(listed))).toEqual(["input.launch.stdio.options.egress.allow.1"]);
    expect(pathsOf(remote({ options: { egress: { allow: [] } } }))).toEqual(["input.launch.remote.options.egress"]);
  });

  test("of an image names folders that may be written to, once each; without them nothing is stored, so that digests stay", () => {
    const paths = ["/app", "/var/cache/nginx", "/app", "/process"];
    expect(parseInput(launchInput, image(paths))).toMatchObject({ writablePaths: [...new Set(paths)] });
    for (const none of [image([]), { image: { image: "a" } }])
      expect(JSON.stringify(parseInput(launchInput, none))).not.toContain("writable");
  });

  test.each([
    ["an empty command", stdio({ command: " " }), "input.launch.stdio.command"],
    ["a command with NUL", stdio({ command: "a\0b" }), "input.launch.stdio.command"],
    ["an argument with NUL", stdio({ args: ["ok", "\0"] }), "input.launch.stdio.args.1"],
    ["an argument with half a character", stdio({ args: ["\ud800"] }), "input.launch.stdio.args.0"],
    ["too many arguments", stdio({ args: Array.from({ length: 257 }, () => "a") }), "input.launch.stdio.args"],
    ["an empty working directory", stdio({ workingDirectory: "" }), "input.launch.stdio.workingDirectory"],
    ["an env name with a hyphen", envOf({ name: "A-B", value: "" }), "input.launch.stdio.env.0.name"],
    ["an env name that begins with a digit", envOf({ name: "1A", value: "" }), "input.launch.stdio.env.0.name"],
    ["Toolyard's own names", envOf({ name: "TOOLYARD_X", value: "" }), "input.launch.stdio.env.0.name"],
    ["the bridge's names", envOf({ name: "bridge_port", value: "" }), "input.launch.stdio.env.0.name"],
    ["a name twice", envOf({ name: "A", value: "1" }, { name: "A", value: "2" }), "input.launch.stdio.env.1.name"],
    ["no value", envOf({ name: "A" }), "input.launch.stdio.env.0.value"],
    ["a value with NUL", envOf({ name: "A", value: "\0" }), "input.launch.stdio.env.0.value"],
    ["a timeout of nothing", stdio({ options: { timeoutSeconds: 0 } }), "input.launch.stdio.options.timeoutSeconds"],
    ["an endless timeout", stdio({ options: { timeoutSeconds: 3_601 } }), "input.launch.stdio.options.timeoutSeconds"],
    [
      "approval, which nothing enforces",
      stdio({ options: { enforceApproval: true } }),
      "input.launch.stdio.options.enforceApproval",
    ],
    ["no calls at all", stdio({ options: { maxConcurrentCalls: 0 } }), "input.launch.stdio.options.maxConcurrentCalls"],
    [
      "a negative threshold",
      stdio({ options: { health: { failureThreshold: -1 } } }),
      "input.launch.stdio.options.health.failureThreshold",
    ],
    [
      "a relative probe path",
      stdio({ options: { health: { livenessPath: "up" } } }),
      "input.launch.stdio.options.health.livenessPath",
    ],
    ["no cpu", stdio({ options: { resources: { cpus: 0 } } }), "input.launch.stdio.options.resources.cpus"],
    [
      "too little memory",
      stdio({ options: { resources: { memoryMb: 1 } } }),
      "input.launch.stdio.options.resources.memoryMb",
    ],
    [
      "too few processes",
      stdio({ options: { resources: { processes: 7 } } }),
      "input.launch.stdio.options.resources.processes",
    ],
    [
      "too little disk",
      stdio({ options: { resources: { diskMb: 15 } } }),
      "input.launch.stdio.options.resources.diskMb",
    ],
    ["no session at all", stdio({ maxSessions: 0 }), "input.launch.stdio.maxSessions"],
    ["sessions without end", stdio({ maxSessions: 10_001 }), "input.launch.stdio.maxSessions"],
    ["a session that is never idle", stdio({ idleSeconds: 86_401 }), "input.launch.stdio.idleSeconds"],
    ["messages of any length", stdio({ maxMessageBytes: 67_108_865 }), "input.launch.stdio.maxMessageBytes"],
    ["a relative writable path", stdio({ writablePaths: ["notes"] }), "input.launch.stdio.writablePaths.0"],
    ["a writable path that climbs", stdio({ writablePaths: ["/srv/../etc"] }), "input.launch.stdio.writablePaths.0"],
    [
      "too many writable paths",
      stdio({ writablePaths: Array.from({ length: 17 }, (_, index) => `/srv/${index}`) }),
      "input.launch.stdio.writablePaths",
    ],
    ["a folder of an image that is relative", image(["data"]), "input.launch.image.writablePaths.0"],
    ["all of an image", image(["/"]), "input.launch.image.writablePaths.0"],
    ["a folder of an image that climbs", image(["/srv/../etc"]), "input.launch.image.writablePaths.0"],
    ["a folder of an image by another spelling", image(["/data", "/data/"]), "input.launch.image.writablePaths.1"],
    [
      "a folder of an image with what engines take for options",
      image(["/data:rw"]),
      "input.launch.image.writablePaths.0",
    ],
    ["a folder of the kernel", image(["/proc/sys"]), "input.launch.image.writablePaths.0"],
    ["devices", image(["/dev"]), "input.launch.image.writablePaths.0"],
    [
      "too many folders of an image",
      image(Array.from({ length: 17 }, (_, index) => `/srv/${index}`)),
      "input.launch.image.writablePaths",
    ],
    ["a relative path", { http: { command: "a", path: "mcp" } }, "input.launch.http.path"],
    ["a path that names a host", { http: { command: "a", path: "//example.com" } }, "input.launch.http.path"],
    ["a path with a space", { http: { command: "a", path: "/a b" } }, "input.launch.http.path"],
    ["a path of another host", { http: { command: "a", path: "//host/mcp" } }, "input.launch.http.path"],
    [
      "a health path of another host",
      { http: { command: "a", options: { health: { livenessPath: "/\\host:1/" } } } },
      "input.launch.http.options.health.livenessPath",
    ],
    [
      "a health path that climbs to another host",
      { http: { command: "a", options: { health: { readinessPath: "/..//host/" } } } },
      "input.launch.http.options.health.readinessPath",
    ],
    ["port 0", { image: { image: "a", port: 0 } }, "input.launch.image.port"],
    ["port 65536", { image: { image: "a", port: 65_536 } }, "input.launch.image.port"],
    ["an image in capitals", { image: { image: "Owner/Name" } }, "input.launch.image.image"],
    ["an image with an option", { image: { image: "--privileged" } }, "input.launch.image.image"],
    ["an image with a space", { image: { image: "a b" } }, "input.launch.image.image"],
    ["a URL of files", remote({ url: "file:///etc/passwd" }), "input.launch.remote.url"],
    ["no URL", remote({ url: "example.com" }), "input.launch.remote.url"],
    ["credentials in the URL", remote({ url: "https://user:pw@example.com" }), "input.launch.remote.url"],
    ["a URL with a fragment", remote({ url: "https://example.com/#a" }), "input.launch.remote.url"],
    [
      "a header with a line break",
      remote({ headers: [{ name: "A", value: "a\r\nB: c" }] }),
      "input.launch.remote.headers.0.value",
    ],
    [
      "a header that is no name",
      remote({ headers: [{ name: "A b", value: "" }] }),
      "input.launch.remote.headers.0.name",
    ],
    ["the host header", remote({ headers: [{ name: "Host", value: "a" }] }), "input.launch.remote.headers.0.name"],
    [
      "a header twice",
      remote({
        headers: [
          { name: "A", value: "1" },
          { name: "a", value: "2" },
        ],
      }),
      "input.launch.remote.headers.1.name",
    ],
    [
      "more than a version should hold",
      stdio({ args: Array.from({ length: 20 }, () => "a".repeat(32_768)) }),
      "input.launch",
    ],
  ])("with %s is refused where it stands", (_what, launch, path) => {
    expect(pathsOf(launch)).toEqual([path]);
  });

  test("names every problem at once", () => {
    expect(pathsOf({ http: { command: "", path: "x", env: [{ name: "-" }] } }).toSorted()).toEqual([
      "input.launch.http.command",
      "input.launch.http.env.0.name",
      "input.launch.http.env.0.value",
      "input.launch.http.path",
    ]);
  });

  test.each([
    "alpine",
    "alpine:3",
    "ghcr.io/a/b-c_d:1.2-rc.1",
    "localhost:5000/a",
    `a@sha256:${"0".repeat(64)}`,
    "127.0.0.1:80/x/y:z",
  ])("takes the image %s", (image) => expect(pathsOf({ image: { image } })).toEqual([]));
});
