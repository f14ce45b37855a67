import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { eventually } from "@toolyard/testing";
import { expect, test } from "vitest";
import { startFakeEngine } from "../fixtures/fake-engine.ts";
import { createEngine } from "./engine.ts";
import { createImages } from "./images.ts";
import type { RegistryCredentials } from "./registry-credentials.ts";

/** An engine without images, whose pulls the test answers. */
async function openImages(credentials: RegistryCredentials | null = null) {
  const pulls: { request: IncomingMessage; response: ServerResponse; cut: Promise<unknown> }[] = [];
  const there = new Set<string>();
  const engine = await startFakeEngine((request, response) => {
    if (request.method === "POST") {
      pulls.push({ request, response, cut: once(response, "close") });
      response.writeHead(200).flushHeaders();
      return;
    }
    const name = decodeURIComponent(/^\/images\/(.*)\/json/.exec(request.url ?? "")?.[1] ?? "");
    response.writeHead(there.has(name) ? 200 : 404).end("{}");
  });
  const images = createImages({
    engine: createEngine({ url: engine.url, certificates: null }),
    registry: null,
    credentials: () => Promise.resolve(credentials),
    tellEveryMs: 0,
  });
  const pull = (index: number) => eventually("it is pulled", () => pulls[index]);
  const say = (response: ServerResponse, message: object) => response.write(`${JSON.stringify(message)}\r\n`);
  return { images, there, pulls, pull, say, [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose]() };
}

test("an image is pulled once for all who want it, who are told how far that is", async () => {
  await using world = await openImages({ username: "ann", password: "p+/ä", serveraddress: "ghcr.io" });
  const told: string[][] = [[], []];
  const wanted = told.map((reasons) => world.images.ensure("ghcr.io/a/b", undefined, (reason) => reasons.push(reason)));
  const { request, response } = await world.pull(0);
  expect(request.url).toContain(`fromImage=${encodeURIComponent("ghcr.io/a/b:latest")}`);
  expect(request.url).not.toContain("ann");
  const header = Buffer.from(String(request.headers["x-registry-auth"]), "base64url").toString("utf8");
  expect(JSON.parse(header)).toMatchObject({ username: "ann", password: "p+/ä" });
  world.say(response, { status: "Pulling from a/b", id: "latest" });
  world.say(response, { status: "Pulling fs layer", id: "one" });
  world.say(response, { status: "Pull complete", id: "two" });
  world.say(response, { status: "Downloading", id: "one", progressDetail: { current: 5_000_000, total: 50_000_000 } });
  const said = "The image ghcr.io/a/b:latest is being pulled: 1 of 2 layers, 5.0 of 50 MB.";
  for (const reasons of told) await expect.poll(() => reasons.at(-1)).toBe(said);
  world.there.add("ghcr.io/a/b:latest");
  response.end();
  expect(await Promise.all(wanted)).toEqual(["ghcr.io/a/b:latest", "ghcr.io/a/b:latest"]);
  expect(world.pulls).toHaveLength(1);
  expect(await world.images.ensure("ghcr.io/a/b", undefined, () => undefined)).toBe("ghcr.io/a/b:latest");
});

test("a pull goes on while one who wants it is left, and is broken off with the last", async () => {
  await using world = await openImages();
  const [one, other] = [new AbortController(), new AbortController()];
  const wanted = [one, other].map(({ signal }) => world.images.ensure("b:1", signal, () => undefined));
  const outcomes = Promise.allSettled(wanted);
  const { cut, response } = await world.pull(0);
  one.abort();
  await expect(wanted[0]).rejects.toThrow("abort");
  expect(response.destroyed).toBe(false);
  other.abort();
  await cut;
  expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  // The next one begins anew.
  const again = world.images.ensure("b:1", undefined, () => undefined);
  const second = await world.pull(1);
  world.there.add("b:1");
  second.response.end();
  expect(await again).toBe("b:1");
});

test.each([
  [
    "pull access denied for b, repository does not exist or may require 'docker login'",
    "BAD_USER_INPUT",
    "credentials",
  ],
  [
    "initializing source docker://ghcr.io/a/b:1: reading manifest: unauthorized: authentication required",
    "BAD_USER_INPUT",
    "credentials",
  ],
  ["manifest for ghcr.io/a/b:1 not found: manifest unknown: manifest unknown", "BAD_USER_INPUT", "There is no image"],
  [
    "pinging container registry: dial tcp 127.0.0.1:1: connect: connection refused",
    "UPSTREAM_UNAVAILABLE",
    "connection refused",
  ],
  ["dial tcp: lookup ghcr.io: no such host", "UPSTREAM_UNAVAILABLE", "no such host"],
  ["toomanyrequests: You have reached your pull rate limit", "UPSTREAM_UNAVAILABLE", "rate limit"],
])("%s: %s", async (error, code, words) => {
  await using world = await openImages();
  const wanted = world.images.ensure("ghcr.io/a/b:1", undefined, () => undefined);
  const failure = wanted.catch((reason: unknown) => reason);
  const { response } = await world.pull(0);
  world.say(response, { errorDetail: { message: error }, error });
  response.end();
  expect(await failure).toMatchObject({ code, message: expect.stringContaining(words) });
});

test.each([
  ["localhost/nothing:1", 'Get "http://localhost/v2/": net/http: TLS handshake timeout', true],
  ["localhost/nothing:1", "manifest unknown", true],
  ["127.0.0.1:1/nobody/nothing:1", "dial tcp 127.0.0.1:1: connect: connection refused", true],
  ["ghcr.io/a/b:1", "dial tcp: lookup ghcr.io: no such host", false],
])("%s that is had nowhere (%s): where it is to be put is said: %s", async (image, error, isSaid) => {
  await using world = await openImages();
  const failure = world.images.ensure(image, undefined, () => undefined).catch((reason: unknown) => reason);
  const { response } = await world.pull(0);
  world.say(response, { error });
  response.end();
  expect(messageOf(await failure).includes(". If no registry has it, build or load it into the engine")).toBe(isSaid);
});

test("an engine that goes away during a pull is not the image's fault", async () => {
  await using world = await openImages();
  const failure = world.images.ensure("b:1", undefined, () => undefined).catch((reason: unknown) => reason);
  const { response } = await world.pull(0);
  response.destroy();
  expect(await failure).toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
});
