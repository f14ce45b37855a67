import { createSecretMask, type SecretMask } from "@toolyard/service-kit/secret-mask.ts";
import type { Environment, Sealer } from "@toolyard/service-kit";
import type { Deployment, Replica } from "../deployment.ts";
import { openSecrets } from "../deploying/launch-opening.ts";

/** Every secret value that a replica was given: hidden in all its output before that is written or shown. */
export interface KnownSecrets {
  /** In plain text: for the replica's runtime, which hides them in its own output. */
  of(deployment: Deployment, replica: Pick<Replica, "id" | "sealedToken">): string[];
  mask(deployment: Deployment, replica: Pick<Replica, "id" | "sealedToken">): SecretMask;
}

export function createKnownSecrets(options: { sealer: Sealer; hostSecrets: readonly string[] }): KnownSecrets {
  const { sealer, hostSecrets } = options;
  const of: KnownSecrets["of"] = (deployment, { id, sealedToken }) => {
    const open = (sealed: string, context: string): string[] => {
      try {
        return [sealer.open(sealed, context)];
      } catch {
        return []; // sealed with a key that is gone: no process of now was given it
      }
    };
    return [...openSecrets(deployment, open), ...open(sealedToken, id), ...hostSecrets];
  };
  return { of, mask: (deployment, replica) => createSecretMask(of(deployment, replica)) };
}

const SECRET_NAME = /SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|(?:^|_)KEY(?:_|$)/i;
const PLACE_NAME = /_(?:FILE|PATH|DIR)$/i;
const SHORTEST = 8;

/** Secrets in this host's environment, some of which replicas are given (REPLICA_ENV): by their names, and passwords in URLs. */
export function hostSecretsOf(env: Environment): string[] {
  return Object.entries(env).flatMap(([name, value = ""]) => {
    const passwords = [...value.matchAll(/:\/\/[^\s/@:]*:([^\s/@]+)@/g)].map((match) => match[1] ?? "");
    const named = SECRET_NAME.test(name) && !PLACE_NAME.test(name) ? [value] : [];
    return [...named, ...passwords].filter((secret) => secret.length >= SHORTEST);
  });
}
