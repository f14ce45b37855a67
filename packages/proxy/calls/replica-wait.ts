import type { DeploymentRoute, Routes } from "../routing/routes.ts";
import type { Refusal } from "./answer.ts";
import type { Call } from "./call.ts";
import { notReady, tooManyWait } from "./refusals.ts";

/** Lets a call wait until its route changes, which may bring a replica; refuses it when it has waited long enough. */
export type ReplicaWait = (call: Call, deployment: Pick<DeploymentRoute, "demand">, next: () => void) => void;

/** The route of a new replica of a starting deployment may arrive here a moment late. */
const REPLICA_WAIT_MS = 1_000;
/** How long a call waits for a deployment that is scaled by load to wake up. */
const WAKE_WAIT_MS = 30_000;

export function createReplicaWait(options: {
  routes: Pick<Routes, "onceChanged">;
  refuse: (call: Call, refusal: Refusal) => void;
  isDraining: () => boolean;
}): ReplicaWait {
  const { routes, refuse, isDraining } = options;
  return (call, { demand }, next) => {
    call.waitsUntil ??= performance.now() + (demand === null ? REPLICA_WAIT_MS : WAKE_WAIT_MS);
    const left = call.waitsUntil - performance.now();
    if (left <= 0 || isDraining()) return refuse(call, notReady(call));
    const subject = call.caller?.subject ?? "";
    if (demand?.hold(subject) === false) return refuse(call, tooManyWait(call.path.slug));
    const proceed = (): void => {
      clearTimeout(timer);
      cancel();
      demand?.letGo(subject);
      call.response.off("close", proceed);
      if (!call.gone) next();
    };
    call.response.once("close", proceed);
    const cancel = routes.onceChanged(call.path.slug, call.path.ref, proceed);
    const timer = setTimeout(proceed, left);
  };
}
