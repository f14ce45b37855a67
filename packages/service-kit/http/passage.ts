/**
 * The headers by which the gateway tells the proxy about a call that it passes on. The proxy believes them of the holder of a service
 * token with `internal:passage` only; neither passes on a client's own.
 */
export const PASSAGE_HEADERS = {
  /** The service token. */
  token: "x-toolyard-gateway",
  /** Where the client's connection comes from. */
  clientAddress: "x-toolyard-client-address",
  /** The client's Host; absent where it sent none. */
  clientHost: "x-toolyard-client-host",
  /** The protocol to which the client wants its connection upgraded. */
  clientUpgrade: "x-toolyard-client-upgrade",
  /** The URL at which clients reach the gateway, where it differs from their Host. */
  publicUrl: "x-toolyard-public-url",
} as const;
