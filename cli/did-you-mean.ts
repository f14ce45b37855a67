import { closeTo } from "@toolyard/service-kit/errors/references.ts";

/** ` Did you mean list or login?`, of those that are spelt much like `text`; empty when none is. */
export async function didYouMean(text: string, among: readonly string[]): Promise<string> {
  const close = await closeTo(text, async () => among);
  return close.length === 0 ? "" : ` Did you mean ${close.join(" or ")}?`;
}
