/** The source of the gateway's supergraph: a file, or subgraphs' schemas that it composes. */
export interface SupergraphSource {
  /**
   * The supergraph to start with. Waits for parts that are still to come, logging which, until the signal aborts.
   * @throws ToolyardError with what to do about a fault that waiting does not mend
   */
  load(signal: AbortSignal): Promise<string>;
  /**
   * Calls back with the supergraph's text each time it has changed, one after the other, until `close`. Unusable ones are logged,
   * and the one before stays. To be called once, after `load`.
   */
  watch(onChange: OnSupergraphChange): { close(): Promise<void> };
}

/** @throws Error saying why the supergraph cannot be used */
type OnSupergraphChange = (supergraphSdl: string) => Promise<void>;
