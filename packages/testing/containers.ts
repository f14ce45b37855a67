import { execFile, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import { Agent, request, type Dispatcher } from "undici";
import { eventually } from "./eventually.ts";
import { canConnect } from "./ports.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..", "..");
const host = process.env["TEST_DOCKER_HOST"] ?? "";
const socketPath = host.replace(/^unix:\/\//, "");
const engineImage = process.env["TEST_DOCKER_BASE_IMAGE"] ?? "";

const HEALTH_CHECK_MS = 500;

/** Why tests in containers cannot be had; null: they can. */
export const noContainers =
  host === "" || engineImage === "" ? "TEST_DOCKER_HOST or TEST_DOCKER_BASE_IMAGE is not set" : null;

/** A container engine that speaks Docker's API. */
export interface ContainerEngine {
  /** The answer of the API. @throws Error with its message */
  ask<Answer = unknown>(method: Dispatcher.HttpMethod, path: string, body?: unknown): Promise<Answer>;
  /** All that a container has printed. */
  logs(container: string): Promise<string>;
  /**
   * Toolyard's image and its runner image, by scripts/build-images.sh, on this process's Node, its node_modules without what is for development, and uv.
   * Needs uv and podman here. @returns their names
   */
  buildToolyard(): Promise<{ toolyard: string; runner: string }>;
  /** An image of files of this machine, and of symbolic links, by their paths in the image, on the engine's base image. */
  buildOfFiles(tag: string, files: Record<string, string>, links?: Record<string, string>): Promise<void>;
  /** Makes the health checks of a project's containers, again and again, where the engine leaves that to systemd, as Podman does. */
  runHealthChecks(project: string): { stop(): void };
  close(): Promise<void>;
}

/** A second process that serves the API of TEST_DOCKER_HOST's engine, on the same containers. */
export interface EngineService {
  /** For DOCKER_HOST. */
  readonly host: string;
  /** kill -9, then another one. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** @param env Further variables of it. @returns null where the engine is not Podman with its configuration beside its socket */
export async function startEngineService(env: Record<string, string> = {}): Promise<EngineService | null> {
  const beside = dirname(socketPath);
  const configuration = {
    CONTAINERS_CONF: join(beside, "containers.conf"),
    CONTAINERS_STORAGE_CONF: join(beside, "storage.conf"),
  };
  if (!Object.values(configuration).every((path) => existsSync(path))) return null;
  // Podman's monitors write where they are started.
  const folder = mkdtempSync(join(tmpdir(), "toolyard-engine-"));
  const own = join(folder, "podman.sock");
  let child: ChildProcess | null = null;
  async function start(): Promise<void> {
    rmSync(own, { force: true });
    child = spawn("podman", ["system", "service", "--time=0", `unix://${own}`], {
      cwd: folder,
      env: { ...process.env, ...configuration, ...env },
      stdio: "ignore",
    });
    await eventually("an engine that answers", () => canConnect(own));
  }
  async function kill(): Promise<void> {
    if (child === null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
  await start();
  return {
    host: `unix://${own}`,
    async restart() {
      await kill();
      await start();
    },
    async stop() {
      await kill();
      rmSync(folder, { recursive: true });
    },
  };
}

export function openContainerEngine(): ContainerEngine {
  const connect = { socketPath };
  const dispatcher = new Agent({ connect, bodyTimeout: 0, headersTimeout: 0 });

  const send = (method: Dispatcher.HttpMethod, path: string, body?: string | Readable, type = "application/json") =>
    request(`http://engine${path}`, { method, dispatcher, ...(body && { body, headers: { "content-type": type } }) });

  async function ask<Answer>(method: Dispatcher.HttpMethod, path: string, body?: unknown): Promise<Answer> {
    const answer = await send(method, path, body === undefined ? undefined : JSON.stringify(body));
    const text = await answer.body.text();
    if (answer.statusCode >= 400) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
    // The caller names the shape that Docker's API documents.
    return (/^[[{]/.test(text) ? JSON.parse(text) : text) as Answer;
  }

  /** Sends a tar to a path of the API that makes an image of it. */
  async function make(path: string, tarArguments: readonly string[]): Promise<void> {
    const tar = spawn("tar", ["-c", ...tarArguments], { stdio: ["ignore", "pipe", "inherit"] });
    const { statusCode, body } = await send("POST", path, tar.stdout, "application/x-tar");
    const printed = await body.text();
    if (statusCode >= 400 || printed.includes('"errorDetail"')) throw new Error(`No image:\n${printed.slice(-4_000)}`);
  }

  async function buildOfFiles(tag: string, files: Record<string, string>, links: Record<string, string> = {}) {
    const folder = mkdtempSync(join(tmpdir(), "toolyard-image-"));
    try {
      for (const [path, file] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, "root", path)), { recursive: true });
        copyFileSync(file, join(folder, "root", path));
      }
      for (const [path, target] of Object.entries(links)) {
        mkdirSync(dirname(join(folder, "root", path)), { recursive: true });
        symlinkSync(target, join(folder, "root", path));
      }
      const lines = [
        `FROM ${engineImage}`,
        "COPY root /",
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
        "RUN chmod 1777 /tmp",
      ];
      writeFileSync(join(folder, "Dockerfile"), lines.join("\n"));
      await make(`/build?t=${tag}`, ["-C", folder, "."]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  return {
    ask,
    buildOfFiles,
    async logs(container) {
      const { body } = await send("GET", `/containers/${container}/logs?stdout=1&stderr=1`);
      const bytes = Buffer.from(await body.arrayBuffer());
      // Frames: four bytes for the stream, four for the length, then the text.
      let text = "";
      for (let at = 0; at + 8 <= bytes.length; at += 8 + bytes.readUInt32BE(at + 4))
        text += bytes.toString("utf8", at + 8, at + 8 + bytes.readUInt32BE(at + 4));
      return text;
    },
    async buildToolyard() {
      const uv = Object.fromEntries(["uv", "uvx"].map((name) => [`/${name}`, onPath(name)]));
      // What Debian's image of Node has, and the engine's base image lacks.
      const programs = ["/usr/bin/setpriv", "/usr/bin/prlimit"];
      const addons = installedFiles().filter((path) => /linux-x64(?!.*musl).*\.node$/.test(path));
      const libraries = librariesOf(
        process.execPath,
        ...programs,
        ...Object.values(uv),
        ...addons.map((path) => join(root, path)),
      );
      await buildOfFiles("localhost/toolyard-base", {
        ...libraries,
        ...Object.fromEntries(programs.map((path) => [`/usr/local/bin/${basename(path)}`, path])),
        "/usr/local/bin/node": process.execPath,
      });
      const folder = mkdtempSync(join(tmpdir(), "toolyard-image-"));
      try {
        writeFileSync(
          join(folder, "Dockerfile"),
          "FROM localhost/toolyard-base\nCOPY node_modules /opt/toolyard/node_modules\n",
        );
        const list = join(folder, "files");
        writeFileSync(list, installedFiles().join("\n"));
        await make("/build?t=localhost/toolyard-dependencies", ["-C", folder, "Dockerfile", "-C", root, "-T", list]);
      } finally {
        rmSync(folder, { recursive: true });
      }
      await buildOfFiles("localhost/toolyard-uv", uv);
      const env = {
        ...process.env,
        ENGINE: `podman --url ${host}`,
        IMAGE_PREFIX: "localhost/",
        IMAGE_TAG: "image-test",
        BASE_IMAGE: "localhost/toolyard-base",
        DEPENDENCIES: "localhost/toolyard-dependencies",
        UV_IMAGE: "localhost/toolyard-uv",
      };
      const { stdout } = await run(join(root, "scripts/build-images.sh"), { env, maxBuffer: 16 * 1_048_576 });
      const runner = /^MCP_RUNNER_IMAGE=(.*)$/m.exec(stdout)?.[1];
      if (runner === undefined) throw new Error(`scripts/build-images.sh printed no name:\n${stdout}`);
      return { toolyard: "localhost/toolyard:image-test", runner };
    },
    runHealthChecks(project) {
      const filters = encodeURIComponent(JSON.stringify({ label: [`com.docker.compose.project=${project}`] }));
      let running = false;
      const timer = setInterval(() => {
        if (running) return;
        running = true;
        void checkAll().finally(() => (running = false));
      }, HEALTH_CHECK_MS);
      async function checkAll(): Promise<void> {
        const containers = await ask<{ Id: string }[]>("GET", `/containers/json?filters=${filters}`).catch(() => []);
        for (const { Id } of containers)
          await ask("GET", `/v4.0.0/libpod/containers/${Id}/healthcheck`).catch(() => undefined); // it has none, or is gone
      }
      return { stop: () => clearInterval(timer) };
    },
    close: () => dispatcher.close(),
  };
}

/** @throws Error where there is no such program */
function onPath(name: string): string {
  const { stdout, status } = spawnSync("sh", ["-c", 'command -v "$0"', name], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${name} is not installed`);
  return realpathSync(stdout.trim());
}

/** The libraries that programs of this machine are linked with, by their paths. */
export function librariesOf(...programs: string[]): Record<string, string> {
  const { stdout } = spawnSync("ldd", programs, { encoding: "utf8" });
  return Object.fromEntries([...stdout.matchAll(/(?:=> |^\s+)(\/\S+) \(/gm)].map(([, path = ""]) => [path, path]));
}

/** What `npm ci --omit=dev --ignore-scripts` installs, and the Dockerfile leaves of that. */
function installedFiles(): string[] {
  // Written by npm.
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: boolean; link?: boolean }>;
  };
  return Object.entries(packages).flatMap(([path, { dev = false, link = false }]) => {
    if (!path.includes("node_modules/") || dev || !existsSync(join(root, path))) return [];
    return link ? [path] : filesOf(path);
  });
}

function filesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const { name } = entry;
    const path = `${folder}/${name}`;
    // Other packages; and Node itself, which a script of its package fetches.
    if (name === "node_modules" || path === "node_modules/node/bin") return [];
    if (entry.isDirectory()) return filesOf(path);
    return /\.(?:map|d\.[mc]?ts)$/.test(name) ? [] : [path];
  });
}
