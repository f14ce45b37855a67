import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { partsBySecret } from "@toolyard/service-kit/process/part-secrets.ts";
import { Ajv } from "ajv";
import { afterAll, expect, test } from "vitest";
import { parse } from "yaml";

/* docker-compose.yml, without an engine. tests/e2e/compose.test.ts starts what it says. */

const root = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "toolyard-compose-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Service {
  image: string;
  command?: string[];
  /** Null: empty. */
  environment?: Record<string, string | null>;
  secrets?: string[];
  tmpfs?: string[];
  volumes?: string[];
  ports?: string[];
  restart: string;
  healthcheck?: object;
  depends_on?: Record<string, { condition: string }>;
  [other: string]: unknown;
}

/** As Compose reads it where no variable is set. */
function readCompose() {
  const text = readFileSync(join(root, "docker-compose.yml"), "utf8").replace(/\$\{\w+:-([^}]*)\}/g, "$1");
  // The first test holds it to the specification's schema.
  return parse(text, { merge: true }) as {
    services: Record<string, Service>;
    secrets: Record<string, { file: string }>;
    volumes: Record<string, unknown>;
  };
}
const compose = readCompose();
const services = Object.entries(compose.services);
/** Those of Toolyard's image. */
const parts = services.filter(([, { image }]) => image === "toolyard");
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };

function makeSecrets(): string {
  const { status, stderr } = spawnSync("sh", [join(root, "deploy/make-secrets")], {
    env: { PATH: process.env.PATH, SECRETS_DIR: folder },
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return folder;
}

test("it is as the Compose specification wants it", () => {
  const { $schema: _draft, ...schema } = JSON.parse(
    readFileSync(join(root, "node_modules/dclint/schemas/compose.schema.json"), "utf8"),
  );
  const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema);
  validate(compose);
  expect(validate.errors).toBeNull();
  expect(validate({ ...compose, servces: {} })).toBe(false);
});

test("only the front can be reached, and from this machine alone unless the operator says more", () => {
  expect(services.flatMap(([name, { ports = [] }]) => ports.map((port) => [name, port]))).toEqual([
    ["front", "127.0.0.1:8080:8080"],
  ]);
});

test.each(services)("%s has no more than it needs", (_name, service) => {
  expect(service).toMatchObject({
    read_only: true,
    cap_drop: ["ALL"],
    security_opt: ["no-new-privileges:true"],
    user: expect.stringMatching(/^[1-9]\d*:[1-9]\d*$/),
    logging: { driver: "json-file", options: { "max-size": expect.any(String), "max-file": expect.any(String) } },
    deploy: {
      resources: { limits: { cpus: expect.any(String), memory: expect.any(String), pids: expect.any(Number) } },
    },
    restart: service.restart === "no" ? "no" : "unless-stopped",
  });
  expect(service["privileged"]).toBeUndefined();
  for (const each of service.tmpfs ?? []) expect(each).toMatch(/:size=\d+[mg]$/);
  // Of the image, where it is Toolyard's.
  expect(service.healthcheck ?? service.image).not.toBe(service.image === "toolyard" ? null : service.image);
});

test("only parts that keep something have a volume for it; DATA_DIR of the others is on a tmpfs", () => {
  expect(readFileSync(join(root, "Dockerfile"), "utf8")).not.toMatch(/^VOLUME/m);
  const places = parts
    .filter(([, { environment = {} }]) => "PUBLIC_URL" in environment)
    .map(([name, { environment = {}, volumes = [], tmpfs = [] }]) => {
      const dataDir = environment["DATA_DIR"] ?? "/var/lib/toolyard";
      const isKept = volumes.some((volume) => volume === dataDir || volume.endsWith(`:${dataDir}`));
      const isPassing = tmpfs.some((each) => dataDir.startsWith(`${each.split(":")[0]}/`));
      return [name, isKept ? "kept" : isPassing ? "passing" : "nowhere"];
    });
  const kept = places.filter(([, place]) => place === "kept").map(([name]) => name);
  expect(kept).toEqual(["proxy", "deployments"]);
  expect(places.filter(([, place]) => place === "nowhere")).toEqual([]);
});

test.each(["", "toolz"])("npm run subgraph '%s' names the subgraphs that there are", (name) => {
  const { status, stderr } = spawnSync("sh", ["-c", `${scripts["subgraph"]} "$@"`, "subgraph", name], {
    cwd: root,
    encoding: "utf8",
  });
  expect(status).toBe(2);
  for (const each of readdirSync(join(root, "subgraphs"))) expect(stderr).toContain(each);
});

test("all that others wait for is healthy by then, or done", () => {
  const waits = services.flatMap(([, { depends_on = {} }]) => Object.entries(depends_on));
  for (const [name, { condition }] of waits) {
    const isOnce = compose.services[name]?.restart === "no";
    expect([name, condition]).toEqual([name, isOnce ? "service_completed_successfully" : "service_healthy"]);
  }
});

test("deploy/make-secrets makes every secret, once, in a folder that is its user's alone", () => {
  makeSecrets();
  const read = () =>
    Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]));
  const made = read();
  const wanted = Object.entries(compose.secrets);
  expect(wanted.map(([name, { file }]) => [name, file])).toEqual(wanted.map(([name]) => [name, `./secrets/${name}`]));
  expect(Object.keys(made).toSorted()).toEqual(wanted.map(([name]) => name).toSorted());
  expect(new Set(Object.values(made)).size).toBe(wanted.length);
  expect(made["database_url"]).toContain(made["mysql_password"]?.trim());
  expect(statSync(folder).mode & 0o077).toBe(0);
  expect(readFileSync(join(root, ".gitignore"), "utf8")).toMatch(/^secrets\/$/m);
  makeSecrets();
  expect(read()).toEqual(made);
});

test.each(parts.filter(([name]) => name !== "proxy-credential"))(
  "%s sees the secrets that its part needs and the file has, and no others",
  (name, { secrets = [] }) => {
    const needed = [...partsBySecret].flatMap(([secret, kinds]) =>
      kinds.some((kind) => kind === name) ? secret.toLowerCase() : [],
    );
    expect(secrets.toSorted()).toEqual(needed.filter((secret) => secret in compose.secrets).toSorted());
  },
);

test.each(parts)(
  "%s runs a command that there is, which reads every variable that it is given",
  async (_name, service) => {
    const [script = "", ...args] = service.command ?? [];
    const text = scripts[script] ?? "";
    expect(text).toMatch(/\.(?:ts|mjs)\b/);
    const secrets = makeSecrets();
    const credential = join(folder, "proxy-credential");
    const recorded = join(folder, "recorded");
    writeFileSync(credential, "a.b.c\n");
    const env = Object.fromEntries(
      Object.entries(service.environment ?? {}).map(([name, value]) => [
        name,
        (value ?? "").replace("/run/secrets", secrets).replace("/run/toolyard/proxy-credential", credential),
      ]),
    );
    try {
      // A file in place of DATA_DIR ends the start once all variables are read. The recorder is for node alone, as the script has it.
      const child = spawn(
        "sh",
        [
          "-c",
          `${text.replace(/\bnode /, 'node --import "$RECORDER" ')} "$@"`,
          script,
          ...args.map((arg) => arg.replace("/run/toolyard/", `${folder}/`)),
        ],
        {
          cwd: root,
          env: {
            ...env,
            PATH: `${dirname(process.execPath)}:${process.env.PATH}`,
            PORT: "0",
            PROXY_PORT: "0",
            DATA_DIR: credential,
            RECORD_TO: recorded,
            RECORDER: join(import.meta.dirname, "fixtures/record-environment.mjs"),
          },
          stdio: ["ignore", "ignore", "pipe"],
        },
      );
      let said = "";
      child.stderr.on("data", (chunk: Buffer) => (said += String(chunk)));
      const [code] = await once(child, "close");
      // 78: a variable is wrong.
      expect(said).toMatch(service.restart === "no" ? /^$/ : /^Toolyard could not start: DATA_DIR: .* it is a file/);
      expect(code).toBe(service.restart === "no" ? 0 : 1);
      const read = new Set([
        ...(JSON.parse(readFileSync(recorded, "utf8")) as string[]),
        ...(text.match(/(?<=\$\{)\w+/g) ?? []),
      ]);
      expect(Object.keys(env).filter((name) => !read.has(name))).toEqual([]);
      const secretFiles = Object.values(service.environment ?? {}).filter((value) =>
        value?.startsWith("/run/secrets/"),
      );
      expect(service.secrets ?? []).toEqual(expect.arrayContaining(secretFiles.map((path) => basename(path ?? ""))));
    } finally {
      rmSync(credential, { force: true });
      rmSync(recorded, { force: true });
    }
  },
);
