export { createTokenBuckets, wholeSeconds, type CreateTokenBuckets, type TokenBuckets } from "./token-buckets.ts";
export { sharedTokenBuckets } from "./token-buckets.redis.ts";
