import type { RedisConnection } from "@toolyard/redis";
import { newId } from "@toolyard/service-kit";
import { createInProcessBus, type WakeUpBus } from "./bus.ts";

/** How often a subscription that hears nothing is tried: a stopped server closes no connection. */
const PING_MS = 5_000;

/**
 * The bus of all processes on one Redis, by publish and subscribe. While Redis is away, wakes reach this process only. After it, all who
 * listen are woken, since they may have missed wakes, and so are the topics of the wakes that were lost here. The connection ends it.
 */
export function createRedisBus(redis: RedisConnection): WakeUpBus {
  const channel = `${redis.keyPrefix}:wake`;
  const own = newId();
  const local = createInProcessBus();
  const heard = new Set<string>();
  /** Topics whose wake is on its way, and whether there was another since. */
  const underWay = new Map<string, boolean>();
  const lost = new Set<string>();

  const subscriber = redis.further({ autoResubscribe: false });
  subscriber.on("message", (_channel: string, message: string) => {
    const [from, topic = ""] = message.split(" ", 2);
    if (from !== own) local.wake(topic);
  });
  subscriber.on("ready", () => {
    subscriber.subscribe(channel).then(wakeAll, redis.failed);
  });
  const timer = setInterval(() => {
    if (subscriber.status === "ready") subscriber.ping().catch(redis.failed);
  }, PING_MS).unref();
  subscriber.on("end", () => clearInterval(timer));
  redis.onReady(() => {
    const topics = [...lost];
    lost.clear();
    for (const topic of topics) tellOthers(topic);
  });

  function wakeAll(): void {
    for (const topic of heard) local.wake(topic);
  }

  function tellOthers(topic: string): void {
    if (redis.isAway) lost.add(topic);
    else if (underWay.has(topic)) underWay.set(topic, true);
    else {
      underWay.set(topic, false);
      void redis.client
        .publish(channel, `${own} ${topic}`)
        .catch((error: unknown) => {
          redis.failed(error);
          lost.add(topic);
        })
        .then(() => {
          const again = underWay.get(topic);
          underWay.delete(topic);
          if (again) tellOthers(topic);
        });
    }
  }

  return {
    reachesAllWriters: true,
    wake(topic) {
      local.wake(topic);
      tellOthers(topic);
    },
    onWake(topic, listener) {
      heard.add(topic);
      return local.onWake(topic, listener);
    },
  };
}
