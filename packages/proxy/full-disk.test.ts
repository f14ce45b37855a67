import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { describeOnFullDisk, withSmallDisk } from "@toolyard/testing/small-disk.ts";
import { expect, test } from "vitest";
import { startControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy, withTokens } from "./fixtures/proxy.ts";
import { sayName, startUpstream } from "./fixtures/upstream.ts";

describeOnFullDisk("a proxy on a full disk", () => {
  test("serves, says so, and has written all usage and its routes when there is room again", () =>
    withSmallDisk(2, async (disk) => {
      await using controlPlane = await startControlPlane();
      await using echo = await startUpstream(sayName("echo"), { token: "token-echo-0" });
      await using later = await startUpstream(sayName("later"), { token: "token-later-0" });
      controlPlane.setRoutes([withTokens(routeTo("echo", [echo.url]))]);
      const token = await controlPlane.accessToken("ada");
      const call = async (url: string, slug: string) => {
        const headers = { authorization: `Bearer ${token}` };
        const answer = await fetch(`${url}/mcp/${slug}/v1/mcp`, { headers });
        await answer.arrayBuffer();
        return answer.status;
      };
      const usage = () => readdir(join(disk.folder, "proxy/usage"));

      let logged = "";
      const destination = { write: (line: string) => void (logged += line) };
      const logger = createLogger({ level: "warn", name: "proxy", destination });
      const proxy = await startProxy(controlPlane, { dataDir: disk.folder, logger });
      try {
        const recorded = (slug: string) =>
          controlPlane.records().filter(({ toolId }) => toolId === `tool-${slug}`).length;
        expect(await call(proxy.url, "echo")).toBe(200);
        await eventually("its record", async () => recorded("echo") === 1 && (await usage()).length === 0);
        disk.fill();
        for (let calls = 0; calls < 9; calls += 1) expect(await call(proxy.url, "echo")).toBe(200);
        // More than there is room for in the last block of a file.
        const many = Array.from({ length: 50 }, (_, index) => withTokens(routeTo(`more-${index}`, [echo.url])));
        controlPlane.changeRoutes({ routes: [...many, withTokens(routeTo("later", [later.url]))], removed: [] });
        await eventually("the new route", async () => (await call(proxy.url, "later")) === 200);
        const health = () => proxy.proxy.health() as { status: string; spool: { waiting: number; dropped: number } };
        await eventually("that usage waits", () => health().spool.waiting >= 10);
        expect(health()).toMatchObject({ status: "degraded", spool: { dropped: 0 } });
        await eventually("a failed write of the routes", () => /state was not written/.test(logged));

        disk.free();
        await eventually("all records", () => recorded("echo") >= 10 && recorded("later") >= 1);
        await eventually("an empty spool", async () => (await usage()).length === 0);
        expect([recorded("echo"), recorded("later")]).toEqual([10, 1]);
        expect(health()).toMatchObject({ status: "healthy", spool: { waiting: 0, dropped: 0 } });
      } finally {
        await proxy[Symbol.asyncDispose]();
      }
      // By its file alone: nobody can be checked, and the routes are there.
      await controlPlane.stop();
      const again = await startProxy(controlPlane, { dataDir: disk.folder });
      try {
        expect(again.proxy.health()).toMatchObject({ routes: { count: 52, live: false } });
      } finally {
        await again[Symbol.asyncDispose]();
      }
    }));
});
