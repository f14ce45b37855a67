import type {
  V1Deployment,
  V1LabelSelector,
  V1NetworkPolicy,
  V1PodSecurityContext,
  V1PodSpec,
  V1SecurityContext,
  V1Service,
} from "@kubernetes/client-node";
import { EGRESS_PROGRAM } from "../egress/replica-side.ts";
import { CONTAINER } from "./pod-state.ts";

/** Of a replica with an egress list: its forward proxy, in a pod of its own, and who may reach whom. */
export interface EgressManifests {
  /** Of all but the replica's own policy. */
  name: string;
  /** The replica's objects' name, and its pod's labels. */
  replica: { name: string; labels: Record<string, string> };
  deployment: V1Deployment;
  service: V1Service;
  /** The replica reaches the proxy alone, and nobody else does. As the API has them: the library's classes name some fields otherwise. */
  policies: { metadata: { name: string; namespace: string; labels: Record<string, string> }; spec: object }[];
}

/** How the replica's pod calls the proxy: by no name that would have to be resolved. */
export const PROXY_HOST = "toolyard-egress";
const PROXY_PORT = 3_128;
export const PROXY_URL = `http://${PROXY_HOST}:${PROXY_PORT}`;
export const egressName = (name: string): string => `${name}-egress`;

export function egressManifests(of: {
  /** Of the replica's objects. */
  name: string;
  namespace: string;
  /** Of the replica's pod, and of the proxy's. */
  labels: { replica: Record<string, string>; proxy: Record<string, string> };
  image: string;
  allow: readonly string[];
  /** As for the replica: where its pod runs, and as whom. */
  placed: Partial<V1PodSpec>;
  confined: { pod: V1PodSecurityContext; container: V1SecurityContext };
}): EgressManifests {
  const { namespace, labels, confined } = of;
  const name = egressName(of.name);
  const metadata = { name, namespace, labels: labels.proxy };
  const [replica, proxy] = [{ matchLabels: labels.replica }, { matchLabels: labels.proxy }];
  const ports = [{ protocol: "TCP", port: PROXY_PORT }];
  const policy = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy" };
  return {
    name,
    replica: { name: of.name, labels: labels.replica },
    deployment: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: {
        replicas: 1,
        revisionHistoryLimit: 0,
        selector: proxy,
        template: {
          metadata: { labels: labels.proxy },
          spec: {
            ...of.placed,
            containers: [
              {
                name: CONTAINER,
                image: of.image,
                imagePullPolicy: "IfNotPresent",
                command: ["node"],
                args: [EGRESS_PROGRAM, "alone", `--proxy=${PROXY_PORT}`, ...of.allow.map((each) => `--allow=${each}`)],
                resources: { requests: { cpu: "10m", memory: "64Mi" }, limits: { memory: "128Mi" } },
                securityContext: confined.container,
                readinessProbe: { tcpSocket: { port: PROXY_PORT }, periodSeconds: 1 },
              },
            ],
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            // It has no handler of SIGTERM, and connections that it has end with the replica.
            terminationGracePeriodSeconds: 1,
            securityContext: confined.pod,
          },
        },
      },
    },
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: {
        type: "ClusterIP",
        selector: labels.proxy,
        ports: [{ ...ports[0], targetPort: PROXY_PORT, port: PROXY_PORT }],
      },
    },
    policies: [
      {
        ...policy,
        metadata: { ...metadata, name: of.name, labels: labels.replica },
        spec: { podSelector: replica, policyTypes: ["Egress"], egress: [{ to: [{ podSelector: proxy }], ports }] },
      },
      {
        ...policy,
        metadata,
        spec: {
          podSelector: proxy,
          policyTypes: ["Ingress"],
          ingress: [{ from: [{ podSelector: replica }], ports }],
        },
      },
    ],
  };
}

/** Names of the policies, but for the replica's own, by which a pod with these labels reaches something: what one forbids another may allow. */
export function policiesThatLetOut(
  policies: readonly V1NetworkPolicy[],
  labels: Readonly<Record<string, string>>,
  own: string,
): string[] {
  return policies.flatMap(({ metadata, spec }) => {
    const lets = (spec?.egress ?? []).length > 0 && metadata?.name !== own;
    return lets && selects(spec?.podSelector ?? {}, labels) ? [metadata?.name ?? ""] : [];
  });
}

function selects(
  { matchLabels, matchExpressions }: V1LabelSelector,
  labels: Readonly<Record<string, string>>,
): boolean {
  const isAt = ({ key, operator, values = [] }: { key: string; operator: string; values?: string[] }): boolean => {
    const value = labels[key];
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "DoesNotExist":
        return value === undefined;
      default:
        return value !== undefined;
    }
  };
  return (
    Object.entries(matchLabels ?? {}).every(([key, value]) => labels[key] === value) &&
    (matchExpressions ?? []).every(isAt)
  );
}
