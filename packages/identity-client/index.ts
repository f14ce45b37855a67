export { createIdentityClient, createIdentityClock, type IdentityClient } from "./identity-client.ts";
export { createKeySet } from "./key-set.ts";
