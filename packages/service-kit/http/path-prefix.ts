/**
 * The target of a request without the prefix of PUBLIC_URL: proxies in front may leave it there or take it away.
 * @param prefix `/toolyard`, or "" where there is none
 */
export function withoutPrefix(target: string, prefix: string): string {
  if (prefix === "" || !target.startsWith(prefix)) return target;
  const rest = target.slice(prefix.length);
  if (rest === "" || rest.startsWith("?")) return `/${rest}`;
  return rest.startsWith("/") ? rest : target;
}
