import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import type { InterfaceDifference } from "./interface-difference.ts";

/** What runs, whatever its version's number. */
export interface InterfaceKey {
  toolId: string;
  digest: string;
}

/** The interface that a digest showed last. */
export interface InterfaceHead extends InterfaceKey {
  hash: string;
  toolsHash: string | null;
  /** Since when it is as it is. */
  at: number;
  /** Where it was seen first as it is. */
  deploymentId: string;
}

export interface StoredInterface extends InterfaceHead {
  content: InterfaceReading;
}

/** A change of the interface of a digest. */
export interface InterfaceChange extends InterfaceKey {
  /** UUIDv7. */
  id: string;
  at: number;
  /** Where it was seen. */
  deploymentId: string;
  difference: InterfaceDifference;
}

/** Of a tool: those of the digests that changed or were seen first last. */
export const KEPT_INTERFACES = 20;
/** Of a tool, the newest. */
export const KEPT_CHANGES = 100;

/** Interfaces of tools' digests. They are written in the transactions of deployments, by `saveInterface`. */
export interface InterfaceStore {
  /** In the order of the keys; null where none was seen, or it is not kept any more. */
  heads(keys: readonly InterfaceKey[]): Promise<(InterfaceHead | null)[]>;
  find(key: InterfaceKey): Promise<StoredInterface | null>;
  /** Of each tool the newest first, at most `limit`; only of one digest where that is given. */
  changesOf(toolIds: readonly string[], digest: string | null, limit: number): Promise<InterfaceChange[][]>;
}

export interface InterfaceWrite {
  stored: StoredInterface;
  /** The hash that it replaces; null: there is none before. */
  replaces: string | null;
  change: InterfaceChange | null;
}
