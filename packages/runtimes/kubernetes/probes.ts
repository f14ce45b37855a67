import type { V1Container } from "@kubernetes/client-node";
import { LIVENESS_PATH, READINESS_PATH } from "@toolyard/bridge/probe-paths.ts";
import type { HealthPolicy, LaunchOptions } from "@toolyard/launch/launch.ts";
import type { ContainerLaunch } from "../container/container-launch.ts";
import type { ReplicaSpec } from "../runtime.ts";

/** Of Kubernetes' own liveness probe, which is for when Toolyard is away: how much later than Toolyard's it gives a server up. */
const LATER = 3;

/** Kubernetes' own: readiness for people to see, and liveness for when Toolyard is away. A server whose launch names no path is asked for a connection. */
export function probesOf(
  { launch: { kind }, options }: ReplicaSpec,
  { port }: ContainerLaunch,
): Pick<V1Container, "livenessProbe" | "readinessProbe" | "startupProbe"> {
  if (options === undefined) return {};
  const { live, ready } = kind === "stdio" ? BRIDGE_PATHS : pathsOf(options.health);
  return {
    ...livenessOf(options, { ...asked(live, port), ...times(options) }),
    readinessProbe: {
      ...asked(ready, port),
      ...times(options),
      failureThreshold: options.health.failureThreshold,
      successThreshold: options.health.successThreshold,
    },
  };
}

/** A bridge whose server does not start says that it is not ready, and goes on: Toolyard decides what becomes of it. */
const BRIDGE_PATHS = { live: LIVENESS_PATH, ready: READINESS_PATH };

function pathsOf({ livenessPath, readinessPath }: HealthPolicy): { live: string | null; ready: string | null } {
  const live = withoutKeys(livenessPath);
  return { live, ready: withoutKeys(readinessPath) ?? live };
}

/** A path whose query may have keys is not for everybody who may read Deployments. */
const withoutKeys = (path: string | null): string | null => (path?.includes("?") ? null : path);

const asked = (path: string | null, port: number) =>
  path === null ? { tcpSocket: { port } } : { httpGet: { path, port } };

function livenessOf(options: LaunchOptions, probe: ReturnType<typeof asked> & ReturnType<typeof times>) {
  const { failureThreshold, startTimeoutSeconds } = options.health;
  // A server that does one thing at a time does not answer while it has a call.
  const busy = Math.ceil(options.timeoutSeconds / probe.periodSeconds);
  return {
    startupProbe: { ...probe, periodSeconds: 1, failureThreshold: startTimeoutSeconds + LATER * failureThreshold },
    livenessProbe: { ...probe, failureThreshold: LATER * failureThreshold + busy },
  };
}

function times({ health, timeoutSeconds }: LaunchOptions) {
  return {
    periodSeconds: Math.round(health.intervalSeconds),
    timeoutSeconds: Math.ceil(health.timeoutSeconds ?? timeoutSeconds),
  };
}
