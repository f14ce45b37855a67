import { existsSync, readFileSync } from "node:fs";
import { parseEnvironment } from "@toolyard/service-kit";
import { flag } from "@toolyard/service-kit/process/config.ts";
import { z } from "zod";
import { imageVariables } from "../container/image-variables.ts";
import { passedOn } from "../container/passed-on.ts";
import { hostVariables } from "../host/host-variables.ts";
import type { RuntimeModule } from "../runtime-module.ts";
import type { ClusterCredentials } from "./cluster.ts";

const LABEL = /^(?:[a-z0-9.-]+\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,62}=(?:[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$/;
const DNS_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const dnsLabel = z.string().regex(DNS_LABEL, "must be 1 to 63 of small letters, digits and -");

const TOKEN = "KUBERNETES_SERVICE_ACCOUNT_TOKEN";
/** Where Kubernetes has the token of a pod's ServiceAccount. */
const POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/** Items separated by commas. */
const list = (pattern: RegExp, what: string) =>
  z
    .string()
    .default("")
    .transform((text, context) => {
      const items = text.split(",").flatMap((item) => item.trim() || []);
      if (items.every((item) => pattern.test(item))) return items;
      context.addIssue(`must be ${what}, separated by commas`);
      return z.NEVER;
    });

const toleration = z.strictObject({
  key: z.string().optional(),
  operator: z.enum(["Exists", "Equal"]).optional(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
  tolerationSeconds: z.number().int().optional(),
});

const variables = {
  MCP_NAMESPACE: dnsLabel.default("mcp-servers").meta({ example: "mcp-servers" }),
  KUBECONFIG: z.string().optional().meta({ example: "/etc/toolyard/kubeconfig" }),
  KUBERNETES_CLUSTER_ENDPOINT: z
    .url({ protocol: /^https$/, error: "must be an https URL" })
    .optional()
    .meta({ example: "https://10.0.0.1:6443" }),
  [TOKEN]: z.string().optional().meta({ secret: true, example: "eyJhbGciOi…" }),
  KUBERNETES_CA_FILE: z.string().optional().meta({ example: "/etc/toolyard/cluster-ca.crt" }),
  MCP_KUBERNETES_ANCHOR: dnsLabel.optional().meta({ example: "toolyard" }),
  MCP_KUBERNETES_OWNER: dnsLabel.optional().meta({ example: "toolyard" }),
  MCP_NODE_SELECTOR: list(LABEL, "labels such as disk=ssd").meta({ example: "kubernetes.io/arch=amd64" }),
  MCP_TOLERATIONS: z
    .string()
    .default("[]")
    .transform((text, context) => {
      const parsed = z.array(toleration).safeParse(parsedJson(text));
      if (parsed.success) return parsed.data;
      context.addIssue("must be a JSON list of tolerations, as in a pod's manifest");
      return z.NEVER;
    })
    .meta({ example: '[{"key":"mcp","operator":"Exists"}]' }),
  MCP_REGISTRY_LOGINS: list(DNS_LABEL, "names of Secrets").meta({ example: "registry" }),
  MCP_NETWORK_POLICY_ENFORCED: flag(false),
  MCP_RUN_AS_USER: z.coerce.number().int().min(1).max(2_147_483_647).optional().meta({ example: "1000" }),
  ...imageVariables,
  ...hostVariables,
};

export const kubernetes: RuntimeModule = {
  description: "Pods of a cluster.",
  configure(env) {
    const settings = parseEnvironment(variables, env);
    return {
      settings,
      async create({ dataDir, env: hostEnv, logger, keepEndedMs }) {
        const { createKubernetesRuntime } = await import("./kubernetes-runtime.ts");
        return createKubernetesRuntime({
          credentials: credentialsOf(settings, env[`${TOKEN}_FILE`] || null),
          namespace: settings.MCP_NAMESPACE,
          owner: settings.MCP_KUBERNETES_OWNER ?? null,
          anchor: settings.MCP_KUBERNETES_ANCHOR ?? null,
          dataDir,
          imageRegistry: settings.MCP_IMAGE_REGISTRY ?? null,
          runnerImage: settings.MCP_RUNNER_IMAGE ?? null,
          passedOn: passedOn(settings, hostEnv),
          keepsPolicies: settings.MCP_NETWORK_POLICY_ENFORCED,
          placement: {
            nodeSelector: Object.fromEntries(settings.MCP_NODE_SELECTOR.map((label) => label.split("=", 2))),
            tolerations: settings.MCP_TOLERATIONS,
            pullSecrets: settings.MCP_REGISTRY_LOGINS,
            runAsUser: settings.MCP_RUN_AS_USER ?? null,
          },
          logger,
          keepEndedMs,
        });
      },
    };
  },
};

/** The most explicit ones; in a pod without any, its ServiceAccount. */
function credentialsOf(
  settings: {
    KUBECONFIG?: string | undefined;
    KUBERNETES_CLUSTER_ENDPOINT?: string | undefined;
    KUBERNETES_SERVICE_ACCOUNT_TOKEN?: string | undefined;
    KUBERNETES_CA_FILE?: string | undefined;
  },
  tokenFile: string | null,
): ClusterCredentials {
  const { KUBERNETES_CLUSTER_ENDPOINT: endpoint, [TOKEN]: given } = settings;
  // Tokens end, and are renewed in their file.
  const token = () => (tokenFile === null ? (given ?? "") : readFileSync(tokenFile, "utf8").trim());
  if (endpoint && given) return { kind: "token", endpoint, token, caFile: settings.KUBERNETES_CA_FILE ?? null };
  if (settings.KUBECONFIG) return { kind: "kubeconfig", files: settings.KUBECONFIG };
  return existsSync(POD_TOKEN) ? { kind: "pod" } : { kind: "kubeconfig", files: null };
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
