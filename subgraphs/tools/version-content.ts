import { createHash, createHmac } from "node:crypto";
import { deriveKey, type Sealer } from "@toolyard/service-kit";
import canonicalize from "canonicalize";
import { mapSecrets, variablesOf, type StoredLaunch } from "@toolyard/launch";

/** The content of a version, with secrets in plain text: exists only while a change is worked out. */
export interface VersionContent {
  name: string;
  description: string;
  tags: string[];
  launch: StoredLaunch;
  configSchema: unknown;
}

/** Whether both would run the same: as equal digests tell, without computing them. */
export function runsTheSame(one: VersionContent, other: VersionContent): boolean {
  return sameJson([one.launch, one.configSchema], [other.launch, other.configSchema]);
}

export function sameJson(one: unknown, other: unknown): boolean {
  return canonicalize(one) === canonicalize(other);
}

/** Seals and opens the secrets of launches, each with its version's id as context, and makes digests. */
export interface VersionSecrets {
  seal(launch: StoredLaunch, versionId: string): StoredLaunch;
  /** @throws ToolyardError INTERNAL_SERVER_ERROR when the key is another. */
  open(launch: StoredLaunch, versionId: string): StoredLaunch;
  /**
   * SHA-256 (hexadecimal) over the canonical JSON (RFC 8785) of `{launch, configSchema}`; secret values, in plain here, count
   * by their HMAC-SHA-256, so that a digest says whether a secret changed and does not help to guess it.
   */
  digest(content: Pick<VersionContent, "launch" | "configSchema">): string;
}

export function createVersionSecrets(options: { sealer: Sealer; secretKey: string }): VersionSecrets {
  const { sealer } = options;
  const hmacKey = deriveKey(options.secretKey, "digest-hmac");
  return {
    seal: (launch, versionId) => mapSecrets(launch, (value) => sealer.seal(value, versionId)),
    open: (launch, versionId) => mapSecrets(launch, (value) => sealer.open(value, versionId)),
    digest({ launch, configSchema }) {
      const hashed = mapSecrets(launch, (value) => createHmac("sha256", hmacKey).update(value).digest("hex"));
      const canonical = canonicalize({ launch: hashed, configSchema });
      return createHash("sha256")
        .update(canonical ?? "")
        .digest("hex");
    },
  };
}

/** The changes in a line, as in "Changed name, launch (args, env.TOKEN)". Names only: values may be secret. */
export function summarizeChange(before: VersionContent, after: VersionContent): string {
  const parts = (["name", "description", "tags"] as const).filter((field) => !sameJson(before[field], after[field]));
  const launch = launchChange(before.launch, after.launch);
  const all = [...parts, ...(launch === null ? [] : [launch])];
  if (!sameJson(before.configSchema, after.configSchema)) all.push("configSchema");
  const text = `Changed ${all.join(", ")}`;
  return text.length <= 500 ? text : `${text.slice(0, 499)}…`;
}

function launchChange(before: StoredLaunch, after: StoredLaunch): string | null {
  if (sameJson(before, after)) return null;
  if (before.kind !== after.kind) return `launch (${before.kind} to ${after.kind})`;
  const changed: string[] = [];
  const old = new Map<string, unknown>(Object.entries(before));
  const field = after.kind === "remote" ? "headers" : "env";
  for (const [key, value] of Object.entries(after)) {
    if (key !== field && !sameJson(old.get(key), value)) changed.push(key);
  }
  const oldVariables = new Map(variablesOf(before).map((variable) => [variable.name, variable]));
  const newVariables = new Map(variablesOf(after).map((variable) => [variable.name, variable]));
  const variableChanges = new Set([...oldVariables.keys(), ...newVariables.keys()])
    .values()
    .filter((name) => !sameJson(oldVariables.get(name) ?? null, newVariables.get(name) ?? null))
    .map((name) => `${field}.${name}`)
    .toArray();
  // Only the order of the variables differs: it counts, since later ones may build on earlier ones.
  if (variableChanges.length === 0 && changed.length === 0) changed.push(`order of ${field}`);
  return `launch (${[...changed, ...variableChanges].join(", ")})`;
}
