import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { aborted, EngineRefusal, linesOf, orNull, type Engine } from "./engine.ts";
import { imageReference, type ImageReference } from "../container/image-reference.ts";
import { pullFailure } from "../container/pull-failure.ts";
import { describePull, type PullMessage } from "./pull-progress.ts";
import type { RegistryCredentials } from "./registry-credentials.ts";

export interface Images {
  /**
   * Has the image on the engine, and answers its name there. Where it is missing it is pulled, once for all who want it at a time; that goes on until it is
   * done or nobody wants it any more.
   * @throws ToolyardError BAD_USER_INPUT when there is no such image for us, UPSTREAM_UNAVAILABLE when the registry or the engine cannot be reached.
   */
  ensure(image: string, signal: AbortSignal | undefined, progress: (reason: string) => void): Promise<string>;
  /** The variables that an image which is there sets itself, and the paths of volumes that it declares, by the name that `ensure` answered. */
  settingsOf(name: string): Promise<{ environment: Record<string, string>; volumes: string[] }>;
}

interface Pull {
  done: Promise<void>;
  listeners: Set<(reason: string) => void>;
  abort: AbortController;
}

export function createImages(options: {
  engine: Engine;
  /** Of short names. */
  registry: string | null;
  credentials: (registry: string) => Promise<RegistryCredentials | null>;
  /** How often progress is told. @default 1000 */
  tellEveryMs?: number;
}): Images {
  const { engine, registry, credentials, tellEveryMs = 1_000 } = options;
  const pulls = new Map<string, Pull>();

  const refused = (reference: ImageReference) => (error: unknown) => {
    throw error instanceof EngineRefusal ? pullFailure(reference, error.message) : error;
  };
  const isThere = async (reference: ImageReference): Promise<boolean> => {
    const asked = engine.ask((docker) => docker.getImage(reference.name).inspect());
    return (await orNull(asked).catch(refused(reference))) !== null;
  };

  async function pull(reference: ImageReference, { listeners, abort }: Omit<Pull, "done">): Promise<void> {
    const { name } = reference;
    const authconfig = (await credentials(reference.registry)) ?? undefined;
    const stream = await engine
      .open((docker, abortSignal) => docker.createImage(authconfig, { fromImage: name, abortSignal }), abort.signal)
      .catch(refused(reference));
    const seen = new Map<string, PullMessage>();
    let toldAt = -Infinity;
    try {
      for await (const line of linesOf(stream)) {
        // Docker's and Podman's JSONMessage.
        const message = JSON.parse(line) as PullMessage;
        if (message.error !== undefined) throw pullFailure(reference, message.error);
        if (message.id !== undefined) seen.set(message.id, { ...seen.get(message.id), ...message });
        if (performance.now() - toldAt < tellEveryMs) continue;
        toldAt = performance.now();
        for (const tell of listeners) tell(describePull(name, [...seen.values()]));
      }
    } catch (error) {
      abort.signal.throwIfAborted();
      if (error instanceof ToolyardError) throw error;
      const message = `The container engine broke off while it pulled the image ${name}.`;
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", message, { cause: error });
    }
    abort.signal.throwIfAborted();
    if (!(await isThere(reference))) throw pullFailure(reference, "the engine has pulled it, and does not have it");
  }

  function begin(reference: ImageReference): Pull {
    const shared = { listeners: new Set<(reason: string) => void>(), abort: new AbortController() };
    const running: Pull = { ...shared, done: pull(reference, shared).finally(() => leave(reference, running)) };
    // Whoever waits has the error; nobody may any more.
    running.done.catch(() => undefined);
    pulls.set(reference.name, running);
    return running;
  }
  function leave({ name }: ImageReference, running: Pull): void {
    if (pulls.get(name) === running) pulls.delete(name);
  }

  return {
    async ensure(image, signal, progress) {
      const reference = imageReference(image, registry);
      if (await isThere(reference)) return reference.name;
      signal?.throwIfAborted();
      const running = pulls.get(reference.name) ?? begin(reference);
      const { listeners, abort, done } = running;
      // Of its own, so that two who pass one function are two.
      const listener = (reason: string): void => progress(reason);
      listeners.add(listener);
      try {
        await (signal ? Promise.race([done, aborted(signal)]) : done);
      } finally {
        listeners.delete(listener);
        if (listeners.size === 0) {
          abort.abort();
          leave(reference, running);
        }
      }
      return reference.name;
    },
    async settingsOf(name) {
      const { Config } = await engine.ask((docker) => docker.getImage(name).inspect());
      const environment = Object.fromEntries(
        (Config.Env ?? []).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
      );
      return { environment, volumes: Object.keys(Config.Volumes ?? {}) };
    },
  };
}
