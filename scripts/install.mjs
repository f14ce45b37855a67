/**
 * The first half of `npm run up`: installs when package-lock.json or the platform changed since the last time, and not beneath a Toolyard that runs.
 * With `--installed` (npm's `postinstall`) it only notes that all is there, where it is. Plain JavaScript, since nothing may be installed yet.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { askPresence } from "../packages/service-kit/process/presence.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stamp = join(root, "node_modules", ".toolyard-installed");
/** Beside node_modules, which npm removes. */
const installing = join(root, ".toolyard-installing");
const [LOOK_AGAIN_MS, RENEWAL_MS, STALE_MS] = [200, 1_000, 10_000];
const runningHere = join(root, "node_modules", ".cache", "toolyard", "running");

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** The inputs of an installation. */
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

/** npm runs `postinstall` as well where it installs nothing: with --package-lock-only, with --dry-run, and without the scripts of packages. */
function isWhole() {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  return Object.entries(packages).every(([path, { version, link, dev, optional, devOptional }]) => {
    if (!path.includes("node_modules/") || dev || optional || devOptional) return true;
    if (link) return existsSync(join(root, path));
    // Its own script fetches it.
    if (path === "node_modules/node" && !existsSync(join(root, "node_modules", ".bin", "node"))) return false;
    try {
      return JSON.parse(readFileSync(join(root, path, "package.json"), "utf8")).version === version;
    } catch {
      return false;
    }
  });
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
  rmSync(stamp, { force: true });
  if (isWhole()) {
    mkdirSync(dirname(stamp), { recursive: true });
    writeFileSync(stamp, wanted());
  }
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
if (installed() !== wanted()) await alone(install);

async function install() {
  if (installed() === wanted()) return; // by the one that was waited for
  const [other] = await usersOfThisCode();
  if (other !== undefined) {
    fail(
      `package-lock.json changed, and installing would take the code away from the Toolyard that runs from this folder, at ${other.url} ` +
        `(process ${other.pid}). Stop that one, then run this again.`,
    );
  }
  // Not by the Node that was installed before: it is replaced as well.
  const { npm_execpath: npm, npm_node_execpath: node = process.execPath } = process.env;
  // Not its warnings of the Node that runs it: Toolyard runs on the one that it installs.
  const quiet = ["ci", "--loglevel=error"];
  const [command, args] = npm === undefined ? ["npm", quiet] : [node, [npm, ...quiet]];
  process.stderr.write("Installing what package-lock.json names, which takes a minute or two …\n");
  const child = spawn(command, args, { cwd: root, stdio: "inherit" });
  // Ends after npm does, so that nobody else installs meanwhile.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  const [status] = await once(child, "exit").catch((error) => fail(`npm cannot be run: ${error.message}`));
  if (status !== 0) process.exit(status ?? 1);
}

/** Two installations into one folder remove each other's files. The lock's holder renews it; one left by a kill is soon too old. */
async function alone(work) {
  for (let told = false; !take(); told = true) {
    if (!told) process.stderr.write("Another `npm run up` installs here; this one waits for it.\n");
    await delay(LOOK_AGAIN_MS);
  }
  process.on("exit", () => rmSync(installing, { force: true }));
  const renewal = setInterval(() => utimesSync(installing, new Date(), new Date()), RENEWAL_MS);
  await work();
  clearInterval(renewal);
}

function take() {
  try {
    writeFileSync(installing, "", { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") fail(`${root} cannot be installed into: ${error.message}`);
    const written = statSync(installing, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (Date.now() - written > STALE_MS) rmSync(installing, { force: true });
    return false;
  }
}
