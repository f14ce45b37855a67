/**
 * How many parts a message on a WebSocket may have: frames, and chunks of the connection that a frame came in. `ws` keeps each by itself
 * until the message is whole, which takes hundreds of bytes for each, so that `maxPayload` alone bounds no memory. A message of 1 MiB comes in about 700 packets.
 */
export const SOCKET_BOUNDS = { maxFragments: 4_096, maxBufferedChunks: 8_192 } as const;
