import { describe, expect, test } from "vitest";
import { packageOf, parseImage, programName } from "./package-reference.ts";

describe("the package that a command runs", () => {
  test.each([
    [
      "npx",
      ["-y", "@acme/server@1.2.3", "--flag"],
      { registry: "npm", name: "@acme/server", pinned: true, argIndex: 1 },
    ],
    ["npx", ["-y", "server"], { name: "server", version: null, pinned: false, argIndex: 1 }],
    ["npx", ["server@latest"], { name: "server", version: "latest", pinned: false }],
    ["npx", ["server@^1.2.3"], { pinned: false }],
    ["npx", ["server@1"], { pinned: false }],
    ["npx", ["--package=@acme/server@1.0.0", "serve"], { name: "@acme/server", pinned: true, argIndex: 0 }],
    ["npx", ["-p", "@acme/server", "serve"], { name: "@acme/server", pinned: false, argIndex: 1 }],
    ["npx", ["--registry", "https://example.test", "server@1.0.0"], { name: "server", pinned: true, argIndex: 2 }],
    ["/usr/bin/npx", ["server@1.0.0-rc.1"], { pinned: true }],
    ["npx.cmd", ["server"], { name: "server" }],
    ["npm", ["exec", "server"], { registry: "npm", name: "server", argIndex: 1 }],
    ["pnpm", ["dlx", "server"], { name: "server" }],
    ["npx", ["github:acme/server"], { pinned: false }],
    ["npx", [`github:acme/server#${"a".repeat(40)}`], { pinned: true }],
    ["uvx", ["mcp-server-time"], { registry: "PyPI", name: "mcp-server-time", pinned: false, argIndex: 0 }],
    ["uvx", ["mcp-server-time==2.1"], { name: "mcp-server-time", version: "2.1", pinned: true }],
    ["uvx", ["mcp-server-time@0.6.2"], { name: "mcp-server-time", pinned: true }],
    ["uvx", ["mcp-server-time>=2"], { name: "mcp-server-time", pinned: false }],
    ["uvx", ["--from", "acme[cli]==1.0", "serve"], { name: "acme[cli]", pinned: true, argIndex: 1 }],
    ["uvx", ["--with", "requests", "acme"], { name: "acme", argIndex: 2 }],
    ["uv", ["tool", "run", "acme"], { name: "acme", argIndex: 2 }],
    ["pipx", ["run", "acme==1.0"], { name: "acme", pinned: true }],
  ])("%s %j", (command, args, expected) => {
    expect(packageOf(command, args)).toMatchObject(expected);
  });

  test.each([
    ["node", ["server.js"]],
    ["npm", ["start"]],
    ["uv", ["run", "server.py"]],
    ["npx", ["-y"]],
    ["constructor", ["x"]],
  ])("%s %j runs none", (command, args) => {
    expect(packageOf(command, args)).toBeNull();
  });

  test("a program's name has neither folder nor suffix", () => {
    expect(programName("C:\\Program Files\\nodejs\\NPX.CMD")).toBe("npx");
    expect(programName("/bin/sh")).toBe("sh");
  });
});

describe("an image's name", () => {
  test.each([
    ["ghcr.io/acme/server:1.2", { name: "ghcr.io/acme/server", tag: "1.2", digest: null }],
    ["localhost:5000/server", { name: "localhost:5000/server", tag: null }],
    ["server", { name: "server", tag: null }],
    [`acme/server@sha256:${"0".repeat(64)}`, { name: "acme/server", digest: `sha256:${"0".repeat(64)}` }],
  ])("%s", (text, expected) => {
    expect(parseImage(text)).toMatchObject(expected);
  });
  test.each(["", "acme server", "acme/server:", "acme/server@sha256:12", "https://x/y"])("%j is none", (text) => {
    expect(parseImage(text)).toBeNull();
  });
});
