/**
 * About how many bytes a result takes in memory: enough to tell large events from small ones, not a measurement. Strings count
 * their length, other values a few bytes each.
 */
export function weightOf(value: unknown): number {
  if (typeof value === "string") return 16 + value.length;
  if (typeof value !== "object" || value === null) return 8;
  let weight = 32;
  if (Array.isArray(value)) for (const item of value) weight += 8 + weightOf(item);
  // Not an array: an object, read by key only.
  else for (const key in value) weight += 8 + weightOf((value as Record<string, unknown>)[key]);
  return weight;
}
