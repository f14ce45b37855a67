import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import type { StoredInterface } from "./interface-store.ts";

/** A server that offers these tools and nothing else, unless `more` says what. */
export function readingOf(tools: Record<string, unknown>[], more: Partial<InterfaceReading> = {}): InterfaceReading {
  const none = { instructions: null, prompts: [], resources: [], resourceTemplates: [], problems: [] };
  return { ...none, tools, ...more };
}

export function interfaceOf(more: Partial<StoredInterface> = {}): StoredInterface {
  return {
    toolId: "tool",
    digest: "digest",
    hash: "hash",
    toolsHash: "tools",
    at: 1_000,
    deploymentId: "deployment",
    content: readingOf([{ name: "\u{1f600}", inputSchema: { type: "object" } }]),
    ...more,
  };
}
