import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import type { ProcessHarness } from "./process-runtime.harness.ts";
import type { Isolation } from "./process/bubblewrap.ts";
import type { ReplicaHandle, ReplicaLaunch } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

/** Nothing that prepares a launch's command obeys the launch's environment. */

const ECHO = join(import.meta.dirname, "fixtures/echo-environment.mjs");
const problem = await whyNoBubblewrap();
const isolations: Isolation[] = problem === null ? ["none", "bubblewrap"] : ["none"];

let harness: ProcessHarness | null = null;
afterEach(async () => {
  if (!harness) return;
  await stopAll(harness.runtime, 0);
  await harness.runtime.close();
  await harness.close();
  harness = null;
});

function launchOf(kind: "http" | "stdio", env: Record<string, string>): ReplicaLaunch {
  const common = { command: process.execPath, args: [ECHO], env, workingDirectory: null, writablePaths: [] };
  return kind === "http"
    ? { kind, ...common }
    : {
        kind,
        ...common,
        sessions: "ISOLATED",
        timeoutSeconds: 30,
        startTimeoutSeconds: 60,
        maxSessions: null,
        idleSeconds: null,
        maxMessageBytes: null,
      };
}

/** A process and all below it, as the host sees them. */
function processTree(root: number): { pid: number; command: string[]; environment: string[] }[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    const stat = tryRead(`/proc/${name}/stat`);
    if (stat !== null) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
  }
  const isBelow = (pid: number): boolean =>
    pid === root || (parents.has(pid) && pid > 1 && isBelow(parents.get(pid) ?? 0));
  return [...parents.keys()].filter(isBelow).map((pid) => ({
    pid,
    command: (tryRead(`/proc/${pid}/cmdline`) ?? "").split("\0"),
    environment: (tryRead(`/proc/${pid}/environ`) ?? "").split("\0").filter((entry) => entry !== ""),
  }));
}
function tryRead(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // Ended meanwhile.
    return null;
  }
}

const OBEYED = [
  "LD_PRELOAD",
  "LD_AUDIT",
  "LD_LIBRARY_PATH",
  "GLIBC_TUNABLES",
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  "NODE_PATH",
  "NODE_V8_COVERAGE",
  "BASH_ENV",
  "ENV",
  "TMPDIR",
  "HOME",
  "--setenv",
  "npm_config_//registry.example/:_authToken",
];
const environments = fc
  .dictionary(
    fc.oneof(
      fc.constantFrom(...OBEYED),
      fc.string({ unit: "binary", minLength: 1, maxLength: 20 }).filter((name) => /^[^=\0\ud800-\udfff]+$/u.test(name)),
    ),
    // A value that would stop the command itself is not what this is about.
    fc.oneof(
      fc.constantFrom("", "a\nb", "--", "x=y", "'\"$(`"),
      fc.string({ unit: "binary", maxLength: 40 }).filter((value) => /^[^\0\ud800-\udfff]*$/u.test(value)),
    ),
    { maxKeys: 12, noNullPrototype: true },
  )
  .map((environment) => {
    for (const name of ["NODE_OPTIONS", "LD_AUDIT", "LD_PRELOAD", "GLIBC_TUNABLES", "NODE_V8_COVERAGE"])
      if (name in environment) environment[name] = "";
    return Object.fromEntries(Object.entries(environment).filter(([name]) => !/^(TOOLYARD|BRIDGE)_/.test(name)));
  });

describe.skipIf(process.platform !== "linux")("the environment of a launch", () => {
  describe.each(isolations)("isolation %s", (isolation) => {
    test.each(["http", "stdio"] as const)(
      "reaches the command of a %s launch as it is, and no other process",
      async (kind) => {
        let runs = 0;
        await fc.assert(
          fc.asyncProperty(environments, async (env) => {
            const { runtime, fixture, close } = (harness = await openProcessHarness({
              isolation,
              hostEnv: { PATH: process.env.PATH },
            }));
            runs++;
            const spec = await fixture(`env-${runs}`, "");
            const handle = await runtime.start({ ...spec, launch: launchOf(kind, env) });
            const isCommand = ({ command }: { command: string[] }): boolean =>
              command[0]?.endsWith("node") === true && command[1] === ECHO;
            await expect.poll(() => processTree(pidOf(handle)).some(isCommand)).toBe(true);
            const processes = processTree(pidOf(handle));
            // bwrap sets PWD by itself.
            for (const { command, environment } of processes.filter((entry) => !isCommand(entry))) {
              const foreign = environment.filter((entry) => !entry.startsWith("PWD="));
              expect({ command, foreign }).toEqual({ command, foreign: [] });
            }
            const own = new Set(processes.find(isCommand)?.environment);
            const perProcess = kind === "stdio" ? ["TMPDIR", "TMP", "TEMP"] : [];
            for (const [name, value] of Object.entries(env)) {
              if (!perProcess.includes(name) && name !== "PORT") expect(own).toContain(`${name}=${value}`);
            }
            await runtime.stop(handle, 0);
            await runtime.close();
            await close();
            harness = null;
          }),
          { numRuns: 5 },
        );
      },
      120_000,
    );

    test.each(["http", "stdio"] as const)(
      "makes the loader write from no process outside of a %s launch's own",
      async (kind) => {
        // The loader of each program that obeys these writes a file beside them, named by the program's pid.
        const outside = mkdtempSync(join(dirname(tmpdir()), "toolyard-loader-"));
        try {
          harness = await openProcessHarness({ isolation });
          const env = { LD_DEBUG: "libs", LD_DEBUG_OUTPUT: join(outside, "of") };
          const handle = await harness.runtime.start({
            ...(await harness.fixture("loader", "")),
            launch: launchOf(kind, env),
          });
          const commands = () => processTree(pidOf(handle)).filter(({ command }) => command[1] === ECHO);
          await expect.poll(() => commands().length).toBeGreaterThan(0);
          const allowed = isolation === "none" ? commands().map(({ pid }) => `of.${pid}`) : [];
          expect(readdirSync(outside).filter((name) => !allowed.includes(name))).toEqual([]);
        } finally {
          rmSync(outside, { recursive: true });
        }
      },
    );
  });
});

const canCompile = existsSync("/usr/bin/cc");

describe.skipIf(problem !== null || !canCompile)("a library of a launch", () => {
  test.each(["http", "stdio"] as const)("that is preloaded by a %s launch cannot read Toolyard's key", async (kind) => {
    const folder = mkdtempSync(join(import.meta.dirname, ".preload-"));
    try {
      writeFileSync(join(folder, "spy.c"), SPY);
      execFileSync("cc", ["-shared", "-fPIC", "-o", join(folder, "spy.so"), join(folder, "spy.c")]);
      harness = await openProcessHarness({ isolation: "bubblewrap" });
      const { dataDir, runtime, fixture } = harness;
      const key = join(dataDir, "secret-key");
      writeFileSync(key, "the-key-of-toolyard", { mode: 0o600 });
      const env = { LD_PRELOAD: join(folder, "spy.so"), SPY_KEY: key };
      const handle = await runtime.start({ ...(await fixture("spy", "")), launch: launchOf(kind, env) });
      const log = async () => (await runtime.logs(handle, 100)).map(({ text }) => text).join("\n");
      // The spy works: it speaks, of its own process only.
      await expect.poll(log).toContain("spy in node: no key");
      expect(await log()).not.toMatch(/the-key-of-toolyard|spy in (?!node)/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Says from each process that loads it whether it can read the key. */
const SPY = String.raw`
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
extern char *program_invocation_short_name;
__attribute__((constructor)) static void spy(void) {
  char key[100] = "no key";
  FILE *file = getenv("SPY_KEY") ? fopen(getenv("SPY_KEY"), "r") : NULL;
  if (file) fgets(key, sizeof key, file);
  fprintf(stderr, "spy in %s: %s\n", program_invocation_short_name, key);
}
`;

function pidOf(handle: ReplicaHandle): number {
  return Number(handle.identity["pid"]);
}
