import { isAbsolute } from "node:path";
import { bareHost, isLoopback } from "@toolyard/service-kit/http/hosts.ts";
import { variablesOf } from "../host/host-variables.ts";
import { createTrust, type Trust } from "../host/trust.ts";

/** Variables and certificates of this host that replicas in containers get, besides their launches. */
export interface PassedOn {
  /** Variables; those that a launch or an image sets itself take their place. */
  environment: Readonly<Record<string, string>>;
  /** Its files are in TRUST_FOLDER. */
  trust: Trust | null;
}

export const TRUST_FOLDER = "/etc/toolyard-trust";
export const NOTHING_PASSED_ON: PassedOn = { environment: {}, trust: null };

/** Of variables only those that mean the same elsewhere: no paths of this host, and no addresses that only it reaches. */
export function passedOn(
  settings: { REPLICA_ENV: readonly string[]; EXTRA_CA_FILE?: readonly string[] | undefined },
  hostEnv: Readonly<Record<string, string | undefined>>,
): PassedOn {
  const trust = settings.EXTRA_CA_FILE === undefined ? null : createTrust(settings.EXTRA_CA_FILE);
  const variables = Object.entries(variablesOf(hostEnv, settings.REPLICA_ENV));
  const environment = {
    ...Object.fromEntries(variables.filter(([, value]) => !isAbsolute(value) && !namesThisHost(value))),
    ...trust?.variablesIn(TRUST_FOLDER),
  };
  return { environment, trust };
}

function namesThisHost(value: string): boolean {
  const urls = value.match(/[a-z][a-z0-9+.-]*:\/\/[^\s,]+/gi) ?? [`http://${value}`];
  return urls.some((url) => {
    const { protocol, hostname = "" } = URL.parse(url) ?? {};
    const host = bareHost(hostname);
    return protocol === "file:" || host === "localhost" || isLoopback(host);
  });
}
