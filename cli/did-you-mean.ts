import { closeTo } from "@toolyard/service-kit/errors/references.ts";

/** ` Did you mean list or login?`, of candidates spelt much like `text`; empty when there are none. */
export async function didYouMean(text: string, among: readonly string[]): Promise<string> {
  const close = await closeTo(text, async () => among);
  return close.length === 0 ? "" : ` Did you mean ${close.join(" or ")}?`;
}
