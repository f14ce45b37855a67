import { expect, test } from "vitest";
import { folderOfConfig, readClientConfig, type ClientConfigOptions } from "./client-config.ts";
import { UsageError } from "./usage-error.ts";

const options: ClientConfigOptions = {
  env: { TOKEN: "from the environment" },
  name: "/project/mcp.json",
  folder: "/project",
  ask: (id) => (id === "key" ? Promise.resolve("typed") : Promise.reject(new UsageError(`nobody knows ${id}`))),
  readEnvFile: (path) => Promise.resolve(path === "/project/.env" ? { A: "file", B: "file" } : {}),
};
const read = async (source: unknown, more: Partial<ClientConfigOptions> = {}) =>
  readClientConfig(typeof source === "string" ? source : JSON.stringify(source), { ...options, ...more });

test("Claude Desktop's and Cursor's: programs with a sealed environment, URLs with sealed headers", async () => {
  const found = await read({
    mcpServers: {
      memory: { command: "npx", args: ["-y", "server-memory", 3], env: { KEY: "k", PORT: 1 }, autoApprove: ["read"] },
      web: { url: "https://example.com/mcp", headers: { Authorization: "Bearer x" } },
      old: { type: "sse", url: "https://example.com/sse" },
      codeium: { serverUrl: "https://example.com/mcp" },
      gemini: { httpUrl: "https://example.com/mcp" },
    },
  });
  expect(found.map(({ launch }) => launch)).toEqual([
    {
      stdio: {
        command: "npx",
        args: ["-y", "server-memory", "3"],
        env: [
          { name: "KEY", value: "k", secret: true },
          { name: "PORT", value: "1", secret: true },
        ],
      },
    },
    {
      remote: {
        url: "https://example.com/mcp",
        headers: [{ name: "Authorization", value: "Bearer x", secret: true }],
      },
    },
    { remote: { url: "https://example.com/sse", headers: [] } },
    { remote: { url: "https://example.com/mcp", headers: [] } },
    { remote: { url: "https://example.com/mcp", headers: [] } },
  ]);
  expect(found.map(({ ignored }) => ignored)).toEqual([["autoApprove"], [], [], [], []]);
});

test("VS Code's: comments, trailing commas, inputs asked once, variables, envFile below env, cwd", async () => {
  let asked = 0;
  const source = `\uFEFF{
    // what it asks for
    "inputs": [{ "type": "promptString", "id": "key", "description": "The key", "password": true }],
    "servers": {
      "a": { "type": "stdio", "command": "uvx", "args": ["a", "--root=\${workspaceFolder}"], "cwd": "\${workspaceFolder}",
             "env": { "A": "\${input:key}", "T": "\${env:TOKEN}", "C": null }, "envFile": "\${workspaceFolder}/.env" },
      "b": { "type": "http", "url": "https://example.com/mcp", "headers": { "X-Key": "\${input:key}" } }, /* the last */
    },
  }`;
  const ask = (id: string) => {
    asked += 1;
    return options.ask(id, "");
  };
  const expected = [
    {
      stdio: {
        command: "uvx",
        args: ["a", "--root=/project"],
        env: [
          { name: "B", value: "file", secret: true },
          { name: "A", value: "typed", secret: true },
          { name: "T", value: "from the environment", secret: true },
        ],
        workingDirectory: "/project",
      },
    },
    { remote: { url: "https://example.com/mcp", headers: [{ name: "X-Key", value: "typed", secret: true }] } },
  ];
  expect((await read(source, { ask })).map(({ launch }) => launch)).toEqual(expected);
  expect(asked).toBe(1);
  const inSettings = await read(`{ "editor.fontSize": 12, "mcp": ${source.slice(1)} }`);
  expect(inSettings.map(({ launch }) => launch)).toEqual(expected);
});

test("one that cannot be registered says why, and the others are there", async () => {
  const found = await read({
    mcpServers: {
      off: { command: "x", disabled: true },
      unset: { command: "x", env: { K: "${env:NOWHERE}" } },
      otherwise: { command: "x", args: ["${NOWHERE:-here}"] },
      socket: { type: "ws", url: "wss://example.com" },
      empty: {},
      text: "npx",
      list: { command: "x", args: "-y y" },
      odd: { command: "x", args: ["${command:pick}"] },
      asks: { command: "x", args: ["${input:other}"] },
      windows: { command: "cmd", args: ["/c", "npx", "-y", "y"] },
      line: { command: "npx -y y" },
    },
  });
  expect(Object.fromEntries(found.map(({ name, problem }) => [name, problem]))).toEqual({
    off: "it is disabled",
    unset: expect.stringContaining("NOWHERE is not in your environment"),
    otherwise: null,
    socket: expect.stringContaining('"ws" is not known'),
    empty: "it has neither a command nor a url",
    text: "it is not an object with a command or a url",
    list: expect.stringContaining("args: expected array"),
    odd: expect.stringContaining("${command:pick}"),
    asks: "nobody knows other",
    windows: null,
    line: expect.stringContaining("whole command line"),
  });
  expect(found.find(({ name }) => name === "windows")?.launch).toMatchObject({ stdio: { command: "npx" } });
});

test.each([
  ["{ broken", /^\/project\/mcp\.json is not JSON: .* at line 1, column \d+/],
  ['{"a":\n  1 2}', /line 2, column 5/],
  ["[]", /^\/project\/mcp\.json holds no object with servers/],
  ['{"tools": {}}', /^\/project\/mcp\.json has neither "mcpServers".* nor "servers".*"tools"/],
])("%s is refused with what is wrong", async (source, message) => {
  await expect(read(source)).rejects.toThrow(message);
});

test("paths in a project's file are from the project", () => {
  expect(folderOfConfig("/home/me/project/.vscode/mcp.json")).toBe("/home/me/project");
  expect(folderOfConfig("/home/me/project/.mcp.json")).toBe("/home/me/project");
});
