import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./eventually.ts";
import { canConnect } from "./ports.ts";

export type ReverseProxyKind = "nginx" | "caddy";

export interface RunningReverseProxy {
  port: number;
  /** The certificate that it shows, in PEM. */
  certificate: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whether a program is on PATH. */
export function isInstalled(command: string): boolean {
  return spawnSync(command, ["--help"], { stdio: "ignore" }).error === undefined;
}

/**
 * Starts nginx or Caddy, which listens on `port` of 127.0.0.1.
 * @param configure The part of its configuration that an operator writes, given where the certificate of `hostName` and its key are
 */
export async function startReverseProxy(options: {
  kind: ReverseProxyKind;
  hostName: string;
  port: number;
  configure: (files: { certificate: string; key: string }) => string;
}): Promise<RunningReverseProxy> {
  const { kind, hostName, port, configure } = options;
  const folder = await mkdtemp(join(tmpdir(), "toolyard-front-"));
  const files = { certificate: join(folder, "certificate.pem"), key: join(folder, "key.pem") };
  const made = spawnSync(
    "openssl",
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=${hostName} -addext subjectAltName=DNS:${hostName}`
      .split(" ")
      .concat("-keyout", files.key, "-out", files.certificate),
  );
  if (made.status !== 0) throw new Error(`openssl made no certificate: ${String(made.stderr)}`);

  const config = join(folder, kind === "nginx" ? "nginx.conf" : "Caddyfile");
  await writeFile(config, (kind === "nginx" ? nginxAround : caddyAround)(configure(files), folder));
  await mkdir(join(folder, "home"));
  const args =
    kind === "nginx"
      ? ["-p", folder, "-c", config, "-e", "stderr"]
      : ["run", "--config", config, "--adapter", "caddyfile"];
  const child = spawn(kind, args, {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: join(folder, "home") },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (printed += String(chunk)));
  const ended = once(child, "close");
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await eventually(`${kind} listens`, () => {
      if (child.exitCode !== null) throw new Error(printed);
      return canConnect(port);
    });
  } catch (cause) {
    await stop();
    throw new Error(`${kind} does not start:\n${printed}`, { cause });
  }
  return { port, certificate: await readFile(files.certificate, "utf8"), [Symbol.asyncDispose]: stop };
}

/** One process that stays in front, and writes to its own folder only. */
function nginxAround(part: string, folder: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  return `daemon off; master_process off; pid ${folder}/pid;
events {}
http { access_log off; ${temporary.join(" ")}
${part}
}`;
}

function caddyAround(part: string): string {
  return `{
	admin off
	grace_period 1s
	auto_https disable_redirects
}
${part}`;
}
