import { logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { chromiumPath, noteMisdeeds, openBrowser } from "@toolyard/testing/browser.ts";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { isShown, listToolsFromDocs } from "./fixtures/api-docs.ts";

/* The pages at /api/docs and /api/redoc. */

let toolyard: RunningToolyard;
beforeAll(async () => {
  toolyard = await startToolyard({ env: { SAMPLE: "true" } });
});
afterAll(() => toolyard?.[Symbol.asyncDispose]());

const ask = (path: string, init: RequestInit = {}) => fetch(`${toolyard.url}${path}`, init);

describe.each(["/api/docs", "/api/redoc"])("%s", (path) => {
  test("is there with a slash at the end, too, for GET and HEAD alone", async () => {
    const page = await ask(path);
    expect([page.status, page.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    const html = await page.text();
    expect(await (await ask(`${path}/`)).text()).toBe(html);
    const head = await ask(path, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    for (const name of ["etag", "content-length", "content-security-policy"])
      expect(head.headers.get(name)).toBe(page.headers.get(name));
    for (const method of ["POST", "PUT", "DELETE"]) {
      const refused = await ask(path, { method });
      expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
      expect(await refused.json()).toMatchObject({ status: 405, code: "BAD_USER_INPUT" });
    }
  });

  test("names its own server's files only, by versions, which browsers keep for ever", async () => {
    const page = await ask(path);
    expect(page.headers.get("cache-control")).toBe("no-cache");
    const etag = page.headers.get("etag") ?? "";
    expect((await ask(path, { headers: { "if-none-match": etag } })).status).toBe(304);
    const addresses = [...(await page.text()).matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address = ""]) => address);
    const assets = addresses.filter((address) => address.startsWith("/api/docs/assets/"));
    expect(assets.length).toBeGreaterThan(1);
    expect(new Set(addresses.filter((address) => !assets.includes(address)))).toEqual(
      new Set(["data:,", "/api/openapi.json"]),
    );
    for (const address of assets) {
      const asset = await ask(address, { headers: { "accept-encoding": "gzip" } });
      expect([address, asset.status, asset.headers.get("content-encoding")]).toEqual([address, 200, "gzip"]);
      expect(asset.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
      const plain = await ask(address, { headers: { "accept-encoding": "identity" } });
      expect(plain.headers.get("content-encoding")).toBeNull();
      expect(await plain.text()).toBe(await asset.text());
      for (const old of ["", "?of-another-version"])
        expect((await ask(address.replace(/\?.*/, old), { method: "HEAD" })).headers.get("cache-control")).toBe(
          "no-cache",
        );
    }
  });
});

test.each(["constructor", "..%2f..%2fconfig.ts", "docs", ""])("there is no file %j", async (name) => {
  expect((await ask(`/api/docs/assets/${name}`)).status).toBe(404);
});

describe.skipIf(chromiumPath === null)("in a browser, asking nobody else and throwing nothing,", () => {
  let browser: Browser;
  const pages: Page[] = [];
  const amiss: string[] = [];
  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.context().close();
    expect(amiss.splice(0)).toEqual([]);
  });

  async function newPage(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext(options);
    noteMisdeeds(context, toolyard.url, amiss);
    const page = await context.newPage();
    pages.push(page);
    page.on("console", (message) => {
      if (message.type() === "error") amiss.push(message.text());
    });
    return page;
  }

  test("/api/docs sends a request with a user's token and shows the answer; it keeps no token", async () => {
    const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
    const page = await newPage();
    await listToolsFromDocs(page, toolyard.url, token);
    const kept = await page.evaluate<string>("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])");
    expect(kept).not.toContain(token);
  });

  test.each([
    ["/api/docs", "light"],
    ["/api/docs", "dark"],
    ["/api/redoc", "light"],
    ["/api/redoc", "dark"],
  ] as const)("%s is legible at 390 px, %s", async (path, colorScheme) => {
    const page = await newPage({ viewport: { width: 390, height: 844 }, colorScheme });
    await page.goto(toolyard.url + path);
    await isShown(page);
    expect(await page.evaluate<number>("document.documentElement.scrollWidth - window.innerWidth")).toBe(0);
    /** Of a heading's text and what is painted behind it, each 0 (black) to 765. */
    const [text = 0, ground = 0] = await page.evaluate<number[]>(`(() => {
      const sum = (color) => color.match(/[\\d.]+/g).slice(0, 3).reduce((total, part) => total + Number(part), 0);
      const heading = document.querySelector("#reference h1");
      let element = heading;
      while (element && /, 0\\)$/.test(getComputedStyle(element).backgroundColor)) element = element.parentElement;
      const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
      const ground = element ? sum(getComputedStyle(element).backgroundColor) : isDark ? 0 : 765;
      return [sum(getComputedStyle(heading).color), ground];
    })()`);
    expect(colorScheme === "light" ? ground - text : text - ground).toBeGreaterThan(400);
  });
});
