import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { partsBySecret, type PartKind } from "@toolyard/service-kit/process/part-secrets.ts";
import { Ajv } from "ajv";
import { expect, test } from "vitest";
import { parse } from "yaml";
import type { ValueSchema } from "../../scripts/helm-values.ts";

/* deploy/helm/toolyard, without Helm. tests/e2e/helm.test.ts renders and installs it. */

const root = join(import.meta.dirname, "../..");
const chart = join(root, "deploy/helm/toolyard");
const read = (path: string): string => readFileSync(join(chart, path), "utf8");
/** Their shapes are the chart's own. */
const schema = JSON.parse(read("values.schema.json")) as ValueSchema & { additionalProperties?: boolean };
const parts = parse(read("files/parts.yaml")) as Record<
  string,
  { args: string[]; needs: string[]; secrets?: string[]; ports: Record<string, number> }
>;

test("every value has a description and a default, those of values.yaml, and no other is taken", () => {
  const walk = (path: string, value: typeof schema): string[] =>
    Object.entries(value.properties ?? {}).flatMap(([name, child]) => {
      const own = `${path}${name}`;
      const wrong = !child.description || (child.properties ? !!child.default : child.default === undefined);
      return [...(wrong ? [own] : []), ...walk(`${own}.`, child)];
    });
  expect(walk("", schema)).toEqual([]);
  const validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(schema);
  const values = parse(read("values.yaml")) as { parts: Record<string, object> };
  validate(values);
  expect(validate.errors).toBeNull();
  expect(validate({ ...values, mod: "embedded" })).toBe(false);
  const gateway = { ...values.parts["gateway"], replica: 1 };
  expect(validate({ ...values, parts: { ...values.parts, gateway } })).toBe(false);
});

const alone = Object.entries(parts).filter(([name]) => name !== "embedded");
test.each(alone)("%s is told the secrets that its part needs, and no others", (name, { needs, secrets = [] }) => {
  // Each of these is the pod's own: a file, and the token of its ServiceAccount.
  const own = ["PROXY_CREDENTIAL", "KUBERNETES_SERVICE_ACCOUNT_TOKEN"];
  const needed = [...partsBySecret].flatMap(([secret, kinds]) =>
    kinds.includes(name as PartKind) && !own.includes(secret) ? secret : [],
  );
  expect([...needs, ...secrets].toSorted()).toEqual(needed.toSorted());
});

test("each part has a command of the image", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  expect(Object.values(parts).flatMap(({ args: [script = ""] }) => (script in scripts ? [] : script))).toEqual([]);
  const subgraphs = Object.values(parts).flatMap(({ args: [script, name = ""] }) =>
    script === "subgraph" ? name : [],
  );
  expect(subgraphs.toSorted()).toEqual(readdirSync(join(root, "subgraphs")).toSorted());
});

test("every variable that the chart sets is in .env.example", () => {
  const known = new Set(readFileSync(join(root, ".env.example"), "utf8").match(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g));
  const set = readdirSync(join(chart, "templates")).flatMap((name) => [
    ...read(`templates/${name}`).matchAll(/"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g),
  ]);
  expect(set.length).toBeGreaterThan(15);
  expect(set.flatMap(([, name = ""]) => (known.has(name) ? [] : name))).toEqual([]);
});

test("every metric of the dashboard is one of docs/operating.md, or of Node's process", () => {
  const told = new Set(
    [...readFileSync(join(root, "docs/operating.md"), "utf8").matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name),
  );
  const { panels } = JSON.parse(read("files/dashboard.json")) as { panels: { targets: { expr: string }[] }[] };
  const names = panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) => [...expr.matchAll(/(\w+)\{/g)].map(([, name = ""]) => name.replace(/_bucket$/, ""))),
  );
  expect(names.length).toBeGreaterThan(15);
  expect(names.filter((name) => !told.has(name) && !name.startsWith("process_"))).toEqual([]);
});
