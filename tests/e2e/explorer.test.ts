import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { chromiumPath, noteMisdeeds, openBrowser } from "@toolyard/testing/browser.ts";
import type { Browser, BrowserContext, BrowserContextOptions, Page, WebSocketRoute } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

/* The page at /graphql, as people use it. */

describe.skipIf(chromiumPath === null)("the page, in a browser", () => {
  let toolyard: RunningToolyard;
  let browser: Browser;
  const contexts: BrowserContext[] = [];
  /** What the page asked elsewhere, what its policy forbade, and what it threw. */
  const amiss: string[] = [];

  beforeAll(async () => {
    [toolyard, browser] = await Promise.all([startToolyard({ env: { SAMPLE: "true" } }), openBrowser()]);
  });
  afterAll(async () => {
    await browser?.close();
    await toolyard?.[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const context of contexts.splice(0)) await context.close();
    expect(amiss.splice(0)).toEqual([]);
  });

  async function newContext(options: BrowserContextOptions = {}): Promise<BrowserContext> {
    const context = await browser.newContext(options);
    contexts.push(context);
    noteMisdeeds(context, toolyard.url, amiss);
    return context;
  }

  async function open(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    await page.goto(`${toolyard.url}/graphql`);
    await page.locator(".graphiql-execute-button").waitFor();
    return page;
  }

  async function enter(page: Page, password = toolyard.adminPassword): Promise<void> {
    await page.getByLabel("Username").fill("admin");
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in", exact: true }).click();
  }

  const run = (page: Page) => page.locator(".graphiql-execute-button").click();
  const whoOf = (page: Page) => page.locator("#who").innerText();
  const problemOf = (page: Page) => page.getByRole("alert").innerText();
  const resultOf = (page: Page) => page.locator(".result-window .CodeMirror-code").innerText();
  /** As typing does, without what the editor completes by itself. */
  const write = (page: Page, query: string) =>
    page.evaluate(
      `document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.setValue(${JSON.stringify(query)})`,
    );

  test("shows something to anybody, and to who logs in by its form their tools; a reload keeps the login, logging out ends it", async () => {
    const page = await open(await newContext());
    await expect.poll(() => whoOf(page)).toBe("Not logged in.");
    await run(page);
    await expect.poll(() => resultOf(page)).toContain('"name": "task"');

    await enter(page, "not the password");
    await expect.poll(() => problemOf(page)).toMatch(/username or the password is wrong/);
    await enter(page);
    await expect.poll(() => whoOf(page)).toBe("Logged in as admin, 15 min left");
    await expect.poll(() => page.getByRole("alert").isVisible()).toBe(false);
    await expect.poll(() => resultOf(page)).toContain('"slug": "everything"');

    await page.reload();
    await expect.poll(() => whoOf(page)).toBe("Logged in as admin, 15 min left");

    const [loggedOut] = await Promise.all([
      page.waitForResponse((response) => (response.request().postData() ?? "").includes("logout")),
      page.getByRole("button", { name: "Log out" }).click(),
    ]);
    expect(await loggedOut.json()).toEqual({ data: { logout: true } });
    expect(await whoOf(page)).toBe("Not logged in.");
    await write(page, "{ me { username } }");
    await run(page);
    await expect.poll(() => resultOf(page)).toContain("UNAUTHENTICATED");
  });

  test("renews the login before its end, once for all its tabs; a new tab has it, too, and all end together", async () => {
    const context = await newContext();
    await context.clock.install();
    const renewals: string[] = [];
    context.on("request", (request) => {
      if ((request.postData() ?? "").includes("refreshSession")) renewals.push(request.url());
    });
    const first = await open(context);
    await enter(first);
    await expect.poll(() => whoOf(first)).toBe("Logged in as admin, 15 min left");
    const second = await open(context);
    await expect.poll(() => whoOf(second)).toBe("Logged in as admin, 15 min left");

    await context.clock.fastForward("10:00");
    for (const page of [first, second]) await expect.poll(() => whoOf(page)).toBe("Logged in as admin, 5 min left");
    expect(renewals).toEqual([]);
    // Each renewal takes the token that the one before it gave.
    for (const minutes of ["04:30", "14:30"]) {
      await context.clock.fastForward(minutes);
      for (const page of [first, second]) await expect.poll(() => whoOf(page)).toBe("Logged in as admin, 15 min left");
    }
    await write(second, "{ me { username } }");
    await run(second);
    await expect.poll(() => resultOf(second)).toContain('"username": "admin"');

    await first.getByRole("button", { name: "Log out" }).click();
    for (const page of [first, second]) await expect.poll(() => whoOf(page)).toBe("Not logged in.");
  });

  test("says when a login was ended elsewhere, and asks for another", async () => {
    const context = await newContext();
    await context.clock.install();
    const page = await open(context);
    await enter(page);
    await expect.poll(() => whoOf(page)).toMatch(/^Logged in/);
    const { accessToken } = await page.evaluate<{ accessToken: string }>(
      "JSON.parse(Object.entries(sessionStorage).find(([key]) => key.startsWith('toolyard'))[1])",
    );
    await graphqlClient(toolyard.url, accessToken).query("mutation { logout }");

    await write(page, "{ me { username } }");
    await run(page);
    await expect.poll(() => problemOf(page)).toMatch(/^Your login has ended \(.+\)\. Log in again\.$/);
    await expect.poll(() => resultOf(page)).toContain("revoked");
    expect(await whoOf(page)).toBe("Not logged in.");
    expect(await page.getByLabel("Username").isVisible()).toBe(true);
  });

  test("runs the first query also of who has logged in before there is a place for its result", async () => {
    const answer = await fetch(`${toolyard.url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        query: `mutation ($password: String!) { login(username: "admin", password: $password) { accessToken refreshToken expiresIn user { username } } }`,
        variables: { password: toolyard.adminPassword },
      }),
    });
    const page = await (await newContext()).newPage();
    // The login is answered before React has drawn anything.
    await page.addInitScript(`
      const { fetch } = window;
      window.fetch = async (url, init) =>
        String(init?.body).includes("LogIn") ? new Response(${JSON.stringify(await answer.text())}) : fetch(url, init);
      document.addEventListener("DOMContentLoaded", () => {
        const form = document.getElementById("login");
        for (const { name } of form.querySelectorAll("input")) form.elements[name].value = "admin";
        form.requestSubmit();
      });
    `);
    await page.goto(`${toolyard.url}/graphql`);
    await expect.poll(() => resultOf(page)).toContain('"slug": "everything"');
  });

  test("has its first query also after a reload that comes when GraphiQL has kept its tabs and not yet their text", async () => {
    const page = await open(await newContext());
    await expect.poll(() => page.evaluate("sessionStorage.getItem('graphiql:tabState')")).not.toBe(null);
    await page.addInitScript("sessionStorage.removeItem('graphiql:query')");
    await page.reload();
    await enter(page);
    await expect.poll(() => resultOf(page)).toContain('"slug": "everything"');
    expect(await page.getByRole("tab").count()).toBe(2);
  });

  test("takes a token, too, and says when that ends", async () => {
    const page = await open(await newContext());
    await page.getByRole("button", { name: "Use a token" }).click();
    await page.getByLabel("Access token or API key").fill(await logIn(toolyard.url, "admin", toolyard.adminPassword));
    await page.getByRole("button", { name: "Use it" }).click();
    await expect.poll(() => whoOf(page)).toBe("Asking with a token, 15 min left");
    await write(page, "{ me { username } }");
    await run(page);
    await expect.poll(() => resultOf(page)).toContain('"username": "admin"');
    await page.getByRole("button", { name: "Forget it" }).click();
    expect(await whoOf(page)).toBe("Not logged in.");
  });

  test("subscriptions say in words why they are refused, break and are open again", async () => {
    await using restarted = await startToolyard({ env: { SAMPLE: "true" } });
    const page = await (await browser.newContext()).newPage();
    contexts.push(page.context());
    await page.goto(`${restarted.url}/graphql`);
    await page.getByRole("tab", { name: "Watch" }).click();
    await run(page);
    await expect.poll(() => resultOf(page)).toMatch(/log in/i);

    await enter(page, restarted.adminPassword);
    await expect.poll(() => whoOf(page)).toMatch(/^Logged in/);
    await run(page);
    await expect.poll(() => resultOf(page)).toContain("deploymentEvents");

    await page.getByRole("button", { name: "Log out" }).click();
    await expect.poll(() => resultOf(page)).toContain("The subscription ended with the login. Log in");
    await enter(page, restarted.adminPassword);
    await expect.poll(() => whoOf(page)).toMatch(/^Logged in/);
    await run(page);
    await expect.poll(() => resultOf(page)).toContain("deploymentEvents");

    await restarted.kill();
    const notice = page.locator("#notice");
    await expect
      .poll(() => notice.innerText())
      .toMatch(/^The subscription broke: .+\. It is opened again \(try \d of 6\)/);
    await using again = await restarted.restart();
    await expect
      .poll(() => notice.innerText())
      .toMatch(/^The subscription is open again\. What happened meanwhile was not sent/);

    // Stopped, and asked a query.
    await page.locator(".graphiql-execute-button").click();
    await again.stop();
    await write(page, "{ me { username } }");
    await run(page);
    await expect.poll(() => resultOf(page)).toMatch(/127\.0\.0\.1:\d+ does not answer\. Is Toolyard running/);
  });

  test("a subscription goes on when its credential has ended and another one can be had", async () => {
    const page = await open(await newContext());
    const sockets: WebSocketRoute[] = [];
    await page.routeWebSocket(/\/graphql$/, (socket) => {
      socket.connectToServer();
      sockets.push(socket);
    });
    await enter(page);
    await expect.poll(() => whoOf(page)).toMatch(/^Logged in/);
    await page.getByRole("tab", { name: "Watch" }).click();
    await run(page);
    await expect.poll(() => resultOf(page)).toContain('"kind": "RUNNING"');
    const renewal = page.waitForRequest((request) => (request.postData() ?? "").includes("refreshSession"));
    // As the gateway does when a token ends.
    await sockets[0]?.close({ code: 4401, reason: "The credential has expired" });
    await renewal;
    await expect.poll(() => page.locator("#notice").innerText()).toMatch(/is open again.+go on with after: "\d+"/);
    expect(sockets.length).toBe(2);
    await expect.poll(() => whoOf(page)).toMatch(/^Logged in/);
  });

  test.each(["light", "dark"] as const)("is usable at 390 px, %s", async (colorScheme) => {
    const context = await newContext({ viewport: { width: 390, height: 844 }, colorScheme });
    const page = await open(context);
    /** Whether what paints a background paints a light one. */
    const brightness = () =>
      page.evaluate<(boolean | null)[]>(`
        [document.body, ...document.querySelectorAll("#bar, .graphiql-container, #login input")].map((element) => {
          const [red, green, blue, alpha = 1] = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g).map(Number);
          return alpha === 0 ? null : red + green + blue > 382;
        })`);
    const isLight = (await brightness()).filter((light) => light !== null);
    expect(isLight.length).toBeGreaterThan(3);
    expect(isLight.every((light) => light === (colorScheme === "light"))).toBe(true);
    // GraphiQL's own switch goes before the system's.
    const other = colorScheme === "light" ? "Dark" : "Light";
    await page.getByRole("button", { name: "Open settings dialog" }).click();
    await page.getByRole("button", { name: other, exact: true }).click();
    await page.keyboard.press("Escape");
    const switched = (await brightness()).filter((light) => light !== null);
    expect(switched.every((light) => light === (other === "Light"))).toBe(true);

    const overflow = () => page.evaluate<number>("document.documentElement.scrollWidth - window.innerWidth");
    expect(await overflow()).toBe(0);
    await enter(page);
    await expect.poll(() => resultOf(page)).toContain('"slug": "everything"');
    expect(await overflow()).toBe(0);
    const boxes = await Promise.all(
      [".graphiql-query-editor", ".result-window"].map((part) => page.locator(part).boundingBox()),
    );
    const [editor, result] = boxes;
    expect(editor?.width).toBeGreaterThan(340);
    expect(result?.width).toBeGreaterThan(340);
    expect(result?.y).toBeGreaterThanOrEqual((editor?.y ?? Infinity) + (editor?.height ?? 0));
  });

  test("everything can be reached by the keyboard and has a name", async () => {
    const page = await open(await newContext());
    await page.getByLabel("Username").focus();
    const reached: string[] = [];
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      const named = page.evaluate<string>(`(() => {
        const { tagName, ariaLabel, labels, textContent } = document.activeElement;
        return tagName + " " + (ariaLabel ?? labels?.[0]?.textContent.trim() ?? textContent);
      })()`);
      reached.push(await named);
    }
    expect(reached.slice(0, 3)).toEqual(["INPUT Password", "BUTTON Log in", "BUTTON Use a token"]);
    expect(reached).toContain("TEXTAREA Query. Ctrl-Enter runs it, Ctrl-Space completes.");
    expect(reached).toContain("TEXTAREA Variables, as JSON");
    expect(reached.filter((name) => /^(TEXTAREA|INPUT|BUTTON) *$/.test(name))).toEqual([]);
    // Past the editors, and round again.
    expect(reached.filter((name) => name === "INPUT Password").length).toBeGreaterThan(1);
  });
});
