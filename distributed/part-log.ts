/** A line that a part has printed, with the part's name: as a field of a line of its log, in front of all others. */
export function namedLine(part: string, line: string): string {
  return line.startsWith('{"') ? `{"part":${JSON.stringify(part)},${line.slice(1)}` : `[${part}] ${line}`;
}
