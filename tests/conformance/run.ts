import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The MCP conformance suite, both of its versions, and how its runs are read. */

const root = join(import.meta.dirname, "..", "..");

export type Suite = "0.1.16" | "0.2.0 for 2025-11-25" | "0.2.0 for 2026-07-28";

interface Command {
  /** The package's name here. */
  name: string;
  all: readonly string[];
  /** Options for a scenario of its own. */
  one: readonly string[];
}

const COMMANDS: Readonly<Record<Suite, Command>> = {
  "0.1.16": { name: "conformance-0.1", all: ["--suite", "all"], one: [] },
  "0.2.0 for 2025-11-25": {
    name: "conformance-0.2",
    all: ["--requirements", "2025-11-25"],
    one: ["--spec-version", "2025-11-25"],
  },
  "0.2.0 for 2026-07-28": {
    name: "conformance-0.2",
    all: ["--requirements", "2026-07-28"],
    one: ["--spec-version", "2026-07-28"],
  },
};
/** The suite gives some answers half a second, which a busy machine may need for less. */
const TRIES = 4;

export interface Run {
  /** Scenarios that failed nothing. */
  passed: string[];
  /** What the suite said of the checks that failed. */
  complaints: string;
}

/** Runs every server scenario of a suite, again by itself where it failed. */
export async function runConformance(
  suite: Suite,
  url: string,
  isServed: (scenario: string) => boolean,
  /** Whether it is to pass; others are not tried again. */
  isExpected: (scenario: string) => boolean = () => true,
): Promise<Run> {
  const { name, all, one } = COMMANDS[suite];
  const { output, complaints } = await start(name, url, all);
  const found = [...output.matchAll(/^[✓✗] ([\w.-]+): \d+ passed, (\d+) failed/gm)];
  if (found.length === 0) throw new Error(`The conformance suite ran nothing:\n${output}`);
  const run: Run = { passed: [], complaints: `${suite}:\n` };
  for (const [, scenario = "", failed] of found) {
    if (!isServed(scenario)) continue;
    let isPassed = failed === "0";
    let complaint = complaints.filter((text) => text.includes(scenario)).join("\n");
    for (let tries = 1; !isPassed && isExpected(scenario) && tries < TRIES; tries += 1) {
      const again = await start(name, url, ["--scenario", scenario, ...one]);
      isPassed = /^Passed: \d+\/\d+, 0 failed/m.test(again.output);
      complaint = again.complaints.join("\n");
    }
    if (isPassed) run.passed.push(scenario);
    else run.complaints += `${complaint}\n`;
  }
  return run;
}

async function start(
  name: string,
  url: string,
  options: readonly string[],
): Promise<{ output: string; complaints: string[] }> {
  const cwd = await mkdtemp(join(tmpdir(), "toolyard-conformance-"));
  try {
    const entry = join(root, "node_modules", name, "dist", "index.js");
    const child = spawn(process.execPath, [entry, "server", "--url", url, ...options, "--output-dir", cwd], {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH },
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    // Its exit code says whether all passed; which did is what is looked at.
    await once(child, "close");
    return { output, complaints: await readComplaints(cwd) };
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

async function readComplaints(folder: string): Promise<string[]> {
  const complaints: string[] = [];
  for (const file of await readdir(folder, { recursive: true })) {
    if (!file.endsWith("checks.json")) continue;
    // The suite's own files.
    const checks = JSON.parse(await readFile(join(folder, file), "utf8")) as {
      status: string;
      errorMessage?: string;
      id: string;
    }[];
    for (const { status, id, errorMessage } of checks)
      if (status === "FAILURE") complaints.push(`${file}: ${id}: ${errorMessage ?? "failed"}`);
  }
  return complaints;
}

/** Passes requests on with a credential, which the suite cannot send: all else, Host and Origin included, as it comes. */
export async function startForwarder(target: string, token: string): Promise<{ url: string } & AsyncDisposable> {
  const { host: authority, pathname } = new URL(target);
  const server = createServer((incoming, outgoing) => {
    const outward = httpRequest(
      `http://${authority}${pathname}`,
      { method: incoming.method, headers: { ...incoming.headers, authorization: `Bearer ${token}` } },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        answer.pipe(outgoing);
      },
    );
    outward.on("error", () => outgoing.destroy());
    outgoing.on("close", () => outward.destroy());
    incoming.pipe(outward);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server's address is never a pipe's string.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/mcp`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
