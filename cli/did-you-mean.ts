import { closeAmong } from "@toolyard/service-kit/errors/references.ts";

/** ` Did you mean list or login?`, of candidates spelt much like `text`; empty when there are none. */
export function didYouMean(text: string, among: readonly string[]): string {
  const close = closeAmong(text, among);
  return close.length === 0 ? "" : ` Did you mean ${close.join(" or ")}?`;
}
