/** What a container did that used more memory than it may, and what to change, as the end of a sentence about it. @param limitMb null: not known */
export function outOfMemory(limitMb: number | null): string {
  const limit = limitMb === null ? "" : `, of which it may use ${limitMb} MB`;
  return `ran out of memory${limit} (resources.memoryMb in the launch)`;
}
