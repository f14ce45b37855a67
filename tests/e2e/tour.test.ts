import { spawn } from "node:child_process";
import { readFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
let toolyard: RunningToolyard;
let home: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "toolyard-tour-"));
  toolyard = await startToolyard({ env: { SAMPLE: "true" } });
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

/** What the README, and the page that it goes on with, have one paste, a block after the other. */
async function tourBlocks(): Promise<string[]> {
  const pages = ["README.md", "docs/graph.md"].map((page) => readFile(join(root, page), "utf8"));
  return (await Promise.all(pages)).flatMap((page) => {
    const [, tour = ""] = /<!-- tour:begin -->([\s\S]*)<!-- tour:end -->/.exec(page) ?? [];
    return [...tour.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block);
  });
}

function shell(script: string) {
  // Another Toolyard may have the usual ports and folder.
  const here = script
    .replaceAll("http://127.0.0.1:4000", toolyard.url)
    .replaceAll("http://127.0.0.1:4100", toolyard.proxyUrl);
  const child = spawn("bash", ["-euo", "pipefail", "-c", here], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: home, ...toolyard.dataEnv, TOOLYARD_URL: toolyard.url },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const printed = { text: "" };
  child.stdout.on("data", (chunk: Buffer) => (printed.text += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (printed.text += chunk.toString()));
  const code = new Promise<number | null>((done) => child.once("close", done));
  return { child, printed, code };
}

test("the README's tour, pasted as it stands", async () => {
  const blocks = await tourBlocks();
  const [watch, ...others] = blocks.filter((block) => block.includes("-- watch"));
  expect(others).toEqual([]);
  await eventually("the sample runs", async () => {
    const { printed, code } = shell("npm run toolyard -- login && npm run toolyard -- list");
    return (await code) === 0 && printed.text.includes("RUNNING");
  });
  // As in a third terminal: it goes on until Ctrl-C.
  const watching = shell(watch ?? "");
  await eventually("it watches", () => watching.printed.text.includes("Watching"));

  const { code, printed } = shell(blocks.filter((block) => block !== watch).join("\n"));
  expect({ code: await code, text: printed.text }).toMatchObject({ code: 0 });
  const { text } = printed;
  const shown = [
    "as admin (ADMIN)",
    "Echo: hello",
    "Registered greeter",
    `greeter answers at ${toolyard.proxyUrl}/mcp/greeter/v1/mcp`,
    "Hello, me!",
    "The greeter has started.",
    "is stopped",
    '"Bearer ty_',
    '"slug":"everything","deployments":{"edges":[{"node":{"name":"everything-',
    '"status":"STARTING","mcpUrl":',
    '"text":"Echo: hello"',
  ];
  expect(shown.filter((each) => !text.includes(each))).toEqual([]);
  await eventually("the events are seen", () => watching.printed.text.includes("was asked to stop."));
  // Its own group: bash, npm and the command.
  process.kill(-(watching.child.pid ?? 0), "SIGINT");
  await watching.code;
});

test("docs/streams.md's example, pasted as it stands", async () => {
  const page = await readFile(join(root, "docs/streams.md"), "utf8");
  const [, example = ""] = /<!-- example:begin -->\s*```sh\n([\s\S]*?)^```$/m.exec(page) ?? [];
  const { code, printed } = shell(`npm run toolyard -- login\n${example}`);
  expect({ code: await code, text: printed.text }).toMatchObject({ code: 0 });
  for (const type of ["subscribed", "tool", "deployment"]) expect(printed.text).toContain(`"type":"${type}"`);
});

test("a token that cannot be had is an error, and no text in TOKEN", async () => {
  const { code, printed } = shell(
    'HOME=/nonexistent; TOKEN=$(npm run --silent toolyard -- token) || true; echo "[$TOKEN]"',
  );
  expect(await code).toBe(0);
  expect(printed.text).toContain("[]\n");
  expect(printed.text).toContain("not logged in");
});
