import type { Logger } from "@toolyard/service-kit";
import type { Routes } from "../routing/routes.ts";
import { createSharedBudget } from "./budget.ts";
import type { Call } from "./call.ts";

/** Keeps calls from being refused by a table that is older than they are, as while the route of a new deployment is on its way here. */
export interface NewerRoutes {
  /**
   * The table lacks what the call needs: once it is as new as the call, `goOn`. Where it is that already (true), or is not known to be in time, or
   * too many calls wait (false), `refuse`.
   */
  awaitFor(call: Call, goOn: () => void, refuse: (isNew: boolean) => void): void;
  /** The table has changed. */
  changed(): void;
}

const WAIT_MS = 1_000;
/** Between questions, each of which is for all calls that came before it. */
const PAUSE_MS = 100;
/** Of these, one user's calls have a share. */
const MAX_WAITING = 200;

export function createNewerRoutes(options: {
  routes: Pick<Routes, "version" | "find">;
  /** The version of the control plane's table. */
  ask: () => Promise<number>;
  logger: Logger;
}): NewerRoutes {
  const { routes, ask, logger } = options;
  const room = createSharedBudget(MAX_WAITING);
  const waiting = new Set<() => void>();
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<number> | null = null;

  function latest(): Promise<number> {
    if (next) return next;
    next = last.then(() => {
      next = null;
      return ask();
    });
    last = next.catch(() => undefined).then(() => new Promise((resolve) => setTimeout(resolve, PAUSE_MS).unref()));
    return next;
  }

  /** Whether the table has come to be as new as the control plane's is now. */
  function isNew(subject: string): Promise<boolean> {
    const place = room.of(subject);
    if (!place.take(1)) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    let wanted = Infinity;
    const end = (reached: boolean): void => {
      if (!waiting.delete(look)) return;
      clearTimeout(timer);
      place.give(1);
      resolve(reached);
    };
    const look = (): void => {
      if (Number(routes.version()) >= wanted) end(true);
    };
    const timer = setTimeout(end, WAIT_MS, false);
    waiting.add(look);
    latest().then(
      (found) => {
        wanted = found;
        look();
      },
      () => end(false),
    );
    return promise;
  }

  return {
    awaitFor(call, goOn, refuse) {
      if (call.isCaughtUp) return refuse(true);
      if (routes.version() === null) return refuse(false);
      call.isCaughtUp = true;
      isNew(call.caller?.subject ?? "")
        .then((reached) => {
          if (call.gone || call.refused) return;
          if (call.group) call.group = routes.find(call.path.slug, call.path.ref) ?? call.group;
          if (reached) goOn();
          else refuse(false);
        })
        .catch((error: unknown) => {
          logger.error({ err: error, request_id: call.requestId }, "a call failed here");
          call.response.destroy();
        });
    },
    changed() {
      for (const look of waiting) look();
    },
  };
}
