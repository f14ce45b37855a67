import type { Environment } from "./config.ts";

/** The parts of Toolyard that may each be a process of its own. */
export type PartKind = "identity" | "tools" | "knowledge" | "analysis" | "deployments" | "gateway" | "worker" | "proxy";

const withData: readonly PartKind[] = [
  "identity",
  "tools",
  "knowledge",
  "analysis",
  "deployments",
  "gateway",
  "worker",
];
/** Documents, versions, results of tasks. */
const withDocuments: readonly PartKind[] = ["tools", "knowledge", "analysis", "worker"];
const withGitHub: readonly PartKind[] = ["tools", "analysis", "worker"];

/** Toolyard's secrets, each with the parts that need it: no other part, and no replica, has it in its environment. */
export const partsBySecret: ReadonlyMap<string, readonly PartKind[]> = new Map(
  Object.entries<readonly PartKind[]>({
    SECRET_KEY: withData,
    SECRET_KEY_PREVIOUS: withData,
    DATABASE_URL: withData,
    REDIS_URL: withData,
    MONGODB_URL: withDocuments,
    METRICS_TOKEN: [...withData, "proxy"],
    ADMIN_PASSWORD: ["identity"],
    PROXY_CREDENTIAL: ["proxy"],
    GITHUB_TOKEN: withGitHub,
    GITHUB_APP_PRIVATE_KEY: withGitHub,
    GITHUB_WEBHOOK_SECRET: ["tools"],
    APOLLO_KEY: ["gateway"],
    OTEL_EXPORTER_OTLP_HEADERS: ["gateway"],
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: ["gateway"],
  }),
);

/** Whether a variable is a secret of Toolyard's, or names the file of one. */
export function isSecretVariable(name: string): boolean {
  return secretOf(name) !== undefined;
}

/** An environment without the secrets that a part does not need. */
export function environmentOf(part: PartKind, env: Environment): Environment {
  return Object.fromEntries(Object.entries(env).filter(([name]) => secretOf(name)?.includes(part) ?? true));
}

function secretOf(name: string): readonly PartKind[] | undefined {
  return partsBySecret.get(name.replace(/_FILE$/, ""));
}
