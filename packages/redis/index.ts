export { openRedis, type RedisConnection } from "./connection.ts";
