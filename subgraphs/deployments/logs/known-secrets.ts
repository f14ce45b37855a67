import { createSecretMask, decoded, type SecretMask } from "@toolyard/service-kit/secret-mask.ts";
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

const PASSWORD_NAME = /PASSWORD|PASSWD|PASSPHRASE|(?:^|_)PASS$|^MYSQL_PWD$/i;
const SECRET_NAME = /SECRET|TOKEN|CREDENTIAL|(?:^|_)KEY(?:_|$)/i;
const PLACE_NAME = /_(?:FILE|PATH|DIR)$/i;
/** Of what may be no secret by its name, such as `TOKEN_TYPE`. */
const SHORTEST = 8;
/** Scheme, user and password; a password may have further `@`. */
const URL_CREDENTIALS = /([a-z][a-z0-9+.-]*):\/\/([^\s/?#:@]*)(?::([^\s/?#]*))?@/gi;

/**
 * Secrets in this host's environment, some of which replicas are given (REPLICA_ENV): by their names, and passwords and tokens in URLs. The mask has the
 * last word on how short one may be.
 */
export function hostSecretsOf(env: Environment): string[] {
  return Object.entries(env).flatMap(([name, value = ""]) => {
    const inUrls = [...value.matchAll(URL_CREDENTIALS)].flatMap(([, scheme = "", user = "", password = ""]) => {
      const secret = password === "" && /^(?:git\+)?https?$/i.test(scheme) ? user : password;
      return [secret, decoded(secret)];
    });
    if (PLACE_NAME.test(name)) return inUrls;
    if (PASSWORD_NAME.test(name)) return [value, ...inUrls];
    return SECRET_NAME.test(name) && value.length >= SHORTEST ? [value, ...inUrls] : inUrls;
  });
}
