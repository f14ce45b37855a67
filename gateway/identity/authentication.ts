import type { Caller } from "@toolyard/service-kit";
import type { IdentityClient } from "@toolyard/identity-client";

/** Identifies the caller, once for each request or socket. */
export interface Authenticator extends Pick<IdentityClient, "authenticate" | "onRevoked"> {
  /** A caller named by another process that holds SECRET_KEY. */
  authenticateHeader(signedCaller: string): Promise<Caller>;
}
