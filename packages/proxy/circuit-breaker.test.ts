import type { ServerResponse } from "node:http";
import { eventually } from "@toolyard/testing";
import { expect, test } from "vitest";
import { startControlPlane } from "./fixtures/control-plane.ts";
import { routeTo, startProxy } from "./fixtures/proxy.ts";
import { sayName, startUpstream } from "./fixtures/upstream.ts";

test("a replica that refuses connections is left out, and after a while gets one call, the others going elsewhere until that is answered", async () => {
  await using controlPlane = await startControlPlane();
  await using sound = await startUpstream(sayName("sound"));
  const dead = await startUpstream(sayName("dead"));
  await dead.kill();
  let time = Date.now();
  controlPlane.issueBy(() => time);
  controlPlane.setRoutes([routeTo("two", [sound.url, dead.url])]);
  await using running = await startProxy(controlPlane, { now: () => time });
  const token = await controlPlane.accessToken("ada");
  let answered = 0;
  const call = async (): Promise<void> => {
    const answer = await fetch(`${running.url}/mcp/two/v1/x`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(200);
    await answer.arrayBuffer();
    answered += 1;
  };
  /** So many that chance leaves out no replica that may be chosen. */
  const calls = (): Promise<void>[] => Array.from({ length: 60 }, call);

  await Promise.all(calls());
  const trials: ServerResponse[] = [];
  let isOver = false;
  await using back = await startUpstream(
    (_request, response) => {
      if (isOver) response.end("{}");
      else trials.push(response);
    },
    { port: dead.port },
  );
  await Promise.all(calls());
  expect(back.seen).toHaveLength(0);

  time += 10_000;
  answered = 0;
  const all = calls();
  await eventually("all but the trial", () => answered === 59);
  expect(trials).toHaveLength(1);
  isOver = true;
  trials[0]?.end("{}");
  await Promise.all(all);
  await Promise.all(calls());
  expect(back.seen.length).toBeGreaterThan(1);
});
