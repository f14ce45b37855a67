/** The end of a sentence about a container that used more memory than it may: that it did, and the setting to change. @param limitMb null: not known */
export function outOfMemory(limitMb: number | null): string {
  const limit = limitMb === null ? "" : `, of which it may use ${limitMb} MB`;
  return `ran out of memory${limit} (resources.memoryMb in the launch)`;
}
