/** The words of a JSON value: keys and values, a line each, escapes resolved. Not recursive: any depth that parses. */
export function textOfJson(root: unknown): string {
  const lines: string[] = [];
  const waiting: { label: string; value: unknown }[] = [{ label: "", value: root }];
  for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) {
    const { label, value } = item;
    if (typeof value !== "object" || value === null) {
      lines.push(`${label}${String(value)}`);
      continue;
    }
    if (label !== "") lines.push(label);
    // Last in, first out: reversed, so that the text stands in the order of the document.
    const children = Array.isArray(value)
      ? value.map((child: unknown) => ({ label: "", value: child }))
      : Object.entries(value).map(([key, child]: [string, unknown]) => ({ label: `${key}: `, value: child }));
    for (const child of children.toReversed()) waiting.push(child);
  }
  return lines.join("\n");
}
