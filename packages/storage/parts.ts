/** Rows of one transaction or statement of long work: few enough that it holds the event loop for some milliseconds only. */
export const CHUNK_ROWS = 500;

/** The items in order, `size` at a time. */
export function* partsOf<Item>(items: readonly Item[], size: number): Generator<Item[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}
