/**
 * Values by key, kept for a while: what is not there is made anew, and an adapter whose server is away has nothing. Bounded; what was used
 * least goes first. Values are JSON where the adapter is one of a server. Keys are no secrets: of what is one, its hash.
 */
export interface Cache<Value extends NonNullable<unknown>> {
  get(key: string): Promise<Value | undefined>;
  /** @param ttlMs until it expires; as long as there is room unless given */
  set(key: string, value: Value, ttlMs?: number): Promise<void>;
  delete(key: string): Promise<void>;
  /**
   * The value, or what `make` makes, which is kept. Those in this process who ask meanwhile get the same. An error of `make` is everybody's who
   * waits for it, and is not kept; nor is what was deleted while it was made.
   * @param ttlMs of a value: until it expires
   */
  wrap(key: string, make: () => Promise<Value>, ttlMs?: number | ((value: Value) => number)): Promise<Value>;
}
