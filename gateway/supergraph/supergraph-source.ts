/** Where the gateway has its supergraph from: a file, or subgraphs' schemas that it composes. */
export interface SupergraphSource {
  /**
   * The supergraph to start with. Waits for what is not there yet but will be, saying in the log for what, until the signal aborts.
   * @throws ToolyardError saying what to do about what will not be there by waiting
   */
  load(signal: AbortSignal): Promise<string>;
  /**
   * Calls back with the supergraph's text each time it is another, one after the other, until `close`. What cannot be used is said in the
   * log, and the one before stays. To be called once, after `load`.
   */
  watch(onChange: OnSupergraphChange): { close(): Promise<void> };
}

/** @throws Error saying why the supergraph cannot be used */
type OnSupergraphChange = (supergraphSdl: string) => Promise<void>;
