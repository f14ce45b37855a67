/**
 * The first half of `npm run up`: installs when package-lock.json or the platform changed since the last time, and not beneath a Toolyard that runs.
 * With `--installed` (npm's `postinstall`) it only notes that all is there. Plain JavaScript, since nothing may be installed yet.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { askPresence } from "../packages/service-kit/presence.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stamp = join(root, "node_modules", ".toolyard-installed");
const runningHere = join(root, "node_modules", ".cache", "toolyard", "running");

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** What an installation depends on. */
function wanted() {
  const { platform, arch } = process;
  const lock = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  // Native code is for one libc.
  if (process.report) process.report.excludeNetwork = true;
  const libc = platform === "linux" ? (process.report?.getReport().header.glibcVersionRuntime ? "glibc" : "musl") : "";
  return `${lock} ${platform} ${arch} ${libc}\n`;
}

function installed() {
  try {
    return readFileSync(stamp, "utf8");
  } catch {
    return null; // never, or not to the end
  }
}

async function usersOfThisCode() {
  let folders = [];
  try {
    folders = readdirSync(runningHere).map((pid) => join(runningHere, pid));
  } catch {
    // Nothing ever ran here.
  }
  return (await Promise.all(folders.map(askPresence))).filter((presence) => presence !== null);
}

if (process.argv.includes("--installed")) {
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted());
  process.exit();
}
if (Number(process.versions.node.split(".")[0]) < 20) {
  fail(`Toolyard needs Node 20 or newer, and this is ${process.version}. Install a newer one: https://nodejs.org`);
}
const dataDir = resolve(process.env.DATA_DIR || "data");
const same = await askPresence(dataDir);
if (same !== null) {
  fail(
    `Toolyard runs already with this DATA_DIR (${dataDir}), at ${same.url} (process ${same.pid}). Stop that one, or give this one another DATA_DIR, ` +
      "PORT and PROXY_PORT.",
  );
}
if (installed() !== wanted()) {
  const [other] = await usersOfThisCode();
  if (other !== undefined) {
    fail(
      `package-lock.json changed, and installing would take the code away from the Toolyard that runs from this folder, at ${other.url} ` +
        `(process ${other.pid}). Stop that one, then run this again.`,
    );
  }
  // Not by the Node that was installed before: it is among what is replaced.
  const { npm_execpath: npm, npm_node_execpath: node = process.execPath } = process.env;
  const [command, args] = npm === undefined ? ["npm", ["ci"]] : [node, [npm, "ci"]];
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error) fail(`npm cannot be run: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}
