import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium, type Browser, type BrowserContext } from "playwright-core";

/** Chromium of this machine; null where there is none. Playwright's own would be downloaded. */
export const chromiumPath =
  (process.env.PATH ?? "")
    .split(delimiter)
    .flatMap((folder) => ["chromium", "chromium-browser", "google-chrome"].map((name) => join(folder, name)))
    .find((path) => existsSync(path)) ?? null;

/**
 * @param names Host names that lead to this machine
 * @throws Error where there is no Chromium
 */
export function openBrowser(names: readonly string[] = []): Promise<Browser> {
  if (chromiumPath === null) throw new Error("There is no Chromium on PATH.");
  // Its own sandbox does not start for root, which CI is; the pages are ours.
  return chromium.launch({
    executablePath: chromiumPath,
    args: ["--no-sandbox", `--host-resolver-rules=${names.map((name) => `MAP ${name} 127.0.0.1`).join(",")}`],
  });
}

/** Notes in `misdeeds` what a context's pages ask of other origins than the URL's, what their policies forbid, and what they throw. */
export function noteMisdeeds(context: BrowserContext, url: string, misdeeds: string[]): void {
  const { origin } = new URL(url);
  const isOwn = (asked: string) => asked.startsWith("data:") || new URL(asked).origin === origin;
  context.on("page", (page) => {
    page.on("pageerror", ({ message }) => misdeeds.push(message));
    page.on("request", (request) => {
      if (!isOwn(request.url())) misdeeds.push(request.url());
    });
    page.on("console", (message) => {
      if (/Content.Security.Policy/i.test(message.text())) misdeeds.push(message.text());
    });
  });
}
