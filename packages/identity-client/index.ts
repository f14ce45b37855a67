export { createAuthenticator, type Authenticator, type Introspection } from "./authenticator.ts";
export { createKeySet, type KeySet } from "./key-set.ts";
