import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { absoluteCommand } from "./launch.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-launch-"));
  for (const name of ["server.mjs", "server", "weather", "run.sh", "settings.json"])
    await writeFile(join(folder, name), "");
  await mkdir(join(folder, "notes"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** `@` stands for the user's folder. */
test.each([
  ["node server.mjs", "node @/server.mjs"],
  ["node ./server.mjs --port 1", "node @/server.mjs --port 1"],
  ["node --import tsx server.mjs", "node --import tsx @/server.mjs"],
  ["node --env-file=settings.json server.mjs", "node --env-file=@/settings.json @/server.mjs"],
  ["python3 -m server", "python3 -m server"],
  ["./run.sh notes", "@/run.sh @/notes"],
  ["npx -y @modelcontextprotocol/server-filesystem .", "npx -y @modelcontextprotocol/server-filesystem @"],
  ["npx -y weather notes", "npx -y weather @/notes"],
  ["uvx weather ../", "uvx weather @/.."],
  ["uv run --directory notes server.mjs", "uv run --directory @/notes @/server.mjs"],
  ["node -e 0", "node -e 0"],
  ["node /opt/not-here/server.mjs", "node /opt/not-here/server.mjs"],
  ["cat ~/notes", `cat ${homedir()}/notes`],
])("%s is registered as %s", (given, expected) => {
  const { command, args } = absoluteCommand(given.split(" "), folder);
  const wanted = expected.replaceAll("@/..", join(folder, "..")).replaceAll(/@(?=\/|$)/g, folder);
  expect([command, ...args].join(" ")).toBe(wanted);
});

test.each([
  [["node", "sever.mjs"], /There is no file .*sever\.mjs/],
  [["./sever"], /There is no file .*sever/],
  [["node server.mjs"], /whole command line.* -- node server\.mjs$/],
  [["ftp://example.com/mcp"], /https:\/\/ or http:\/\/, not ftp:/],
  [["http://example.com/mcp", "server.mjs"], /A URL takes no command/],
  [["example.com/mcp"], /give its URL: https:\/\/example\.com\/mcp/],
  [["localhost:3000"], /give its URL: https:\/\/localhost:3000/],
  [[], /command is missing/],
])("%j is refused before anything is registered", (argv, message) => {
  expect(() => absoluteCommand(argv, folder)).toThrow(message);
});
