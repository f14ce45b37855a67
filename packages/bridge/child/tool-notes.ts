import { isObject } from "@toolyard/service-kit/json.ts";
import type { Message } from "../protocol/json-rpc.ts";
import { type HeaderDeclaration, headerDeclarations } from "../protocol/param-headers.ts";

/** Facts about a tool that the bridge needs before it passes a call on. */
export interface ToolNote {
  /** Parameters that the client repeats in `Mcp-Param-*` headers. */
  readonly headers: readonly HeaderDeclaration[];
  /** It runs only as a task, which callers without a session cannot follow. */
  readonly needsTask: boolean;
}

/** A child's tools, listed at the first call and again when they may have changed. */
export interface ToolNotes {
  /** The note that `find` would answer, where that needs no question. */
  known(name: string): ToolNote | undefined;
  find(name: string): Promise<ToolNote | undefined>;
  /** The server said that its list changed. */
  forget(): void;
}

const KEEP_MS = 30_000;
/** A missing tool may have been added; but a client that makes names up must not double the server's work. */
const RETRY_MS = 1_000;
const MAX_PAGES = 100;

export function needsTask(tool: Record<string, unknown>): boolean {
  return isObject(tool.execution) && tool.execution.taskSupport === "required";
}

/** @param list Asks the child for one page of its tools. */
export function createToolNotes(options: {
  list: (cursor: string | undefined) => Promise<Message>;
  now: () => number;
}): ToolNotes {
  const { list, now } = options;
  let loaded: Promise<Map<string, ToolNote>> | null = null;
  /** Its value once it has settled; null before. */
  let notes: Map<string, ToolNote> | null = null;
  let loadedAt = 0;

  async function load(): Promise<Map<string, ToolNote>> {
    const found = new Map<string, ToolNote>();
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const { result } = await list(cursor);
      if (!isObject(result) || !Array.isArray(result.tools)) break;
      for (const tool of result.tools) {
        if (isObject(tool) && typeof tool.name === "string")
          found.set(tool.name, { headers: headerDeclarations(tool.inputSchema), needsTask: needsTask(tool) });
      }
      if (typeof result.nextCursor !== "string") break;
      cursor = result.nextCursor;
    }
    return found;
  }

  function current(maxAgeMs: number): Promise<Map<string, ToolNote>> {
    if (loaded === null || now() - loadedAt > maxAgeMs) {
      loadedAt = now();
      // A server that does not list its tools is called anyway: there is then nothing to check the call against.
      const loading = load().catch(() => new Map<string, ToolNote>());
      loaded = loading;
      notes = null;
      void loading.then((found) => {
        if (loaded === loading) notes = found;
      });
    }
    return loaded;
  }

  return {
    known: (name) => (now() - loadedAt > KEEP_MS ? undefined : notes?.get(name)),
    async find(name) {
      return (await current(KEEP_MS)).get(name) ?? (await current(RETRY_MS)).get(name);
    },
    forget() {
      loaded = null;
      notes = null;
    },
  };
}
