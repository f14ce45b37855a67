export type { Cache } from "./cache.ts";
export { createMemoryCache } from "./cache.memory.ts";
export { createCacheMeter, uncounted, type CacheCount, type CacheMeter } from "./cache-meter.ts";
export { createRedisCache } from "./cache.redis.ts";
