import type { Environment } from "./config.ts";

/** The parts of Toolyard that may each be a process of its own. */
export type PartKind = "identity" | "tools" | "knowledge" | "analysis" | "deployments" | "gateway" | "worker" | "proxy";

const WITH_DATA: readonly PartKind[] = [
  "identity",
  "tools",
  "knowledge",
  "analysis",
  "deployments",
  "gateway",
  "worker",
];
/** Documents, versions, results of tasks. */
const WITH_DOCUMENTS: readonly PartKind[] = ["tools", "knowledge", "analysis", "worker"];
const WITH_GITHUB: readonly PartKind[] = ["tools", "analysis", "worker"];

/** Toolyard's secrets, each with the parts that need it: no other part, and no replica, has it in its environment. */
export const partsBySecret: ReadonlyMap<string, readonly PartKind[]> = new Map(
  Object.entries<readonly PartKind[]>({
    SECRET_KEY: WITH_DATA,
    SECRET_KEY_PREVIOUS: WITH_DATA,
    DATABASE_URL: WITH_DATA,
    REDIS_URL: WITH_DATA,
    MONGODB_URL: WITH_DOCUMENTS,
    METRICS_TOKEN: [...WITH_DATA, "proxy"],
    ADMIN_PASSWORD: ["identity"],
    PROXY_CREDENTIAL: ["proxy"],
    GITHUB_TOKEN: WITH_GITHUB,
    GITHUB_APP_PRIVATE_KEY: WITH_GITHUB,
    GITHUB_WEBHOOK_SECRET: ["tools"],
    KUBERNETES_SERVICE_ACCOUNT_TOKEN: ["deployments"],
    APOLLO_KEY: ["gateway"],
    OTEL_EXPORTER_OTLP_HEADERS: ["gateway", "proxy"],
    OTEL_EXPORTER_OTLP_TRACES_HEADERS: ["gateway", "proxy"],
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
