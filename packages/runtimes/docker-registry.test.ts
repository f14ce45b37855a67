import { randomUUID } from "node:crypto";
import { mkdtempDisposable, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noContainers, openContainerEngine, startEngineService } from "@toolyard/testing/containers.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEngine } from "./docker/engine.ts";
import { createImages, type Images } from "./docker/images.ts";
import { credentialsFor } from "./docker/registry-credentials.ts";
import { engineTests } from "./docker-runtime.harness.ts";
import { startRegistry, type ImageRegistry } from "./fixtures/registry.ts";

const LOGIN = { username: "ann", password: "a-secret-of-ann" };
const repository = `acme/server-${randomUUID()}`;

describe.skipIf(noContainers !== null)(`images of a registry that wants a login, by a ${engineTests}`, () => {
  let folder: Awaited<ReturnType<typeof mkdtempDisposable>>;
  let registry: ImageRegistry;
  let service: Awaited<ReturnType<typeof startEngineService>>;
  let images: Images;
  beforeAll(async () => {
    folder = await mkdtempDisposable(join(tmpdir(), "toolyard-registry-"));
    registry = await startRegistry({ repository, tag: "1", login: LOGIN });
    // Without TLS.
    const configuration = join(folder.path, "registries.conf");
    await writeFile(configuration, `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`);
    service = await startEngineService({ CONTAINERS_REGISTRIES_CONF: configuration });
    images = createImages({
      engine: createEngine({ url: service?.host ?? expect.fail("not Podman"), certificates: null }),
      registry: registry.host,
      credentials: (name) => credentialsFor(name, join(folder.path, "config.json")),
      tellEveryMs: 0,
    });
  });
  afterAll(async () => {
    await service?.stop();
    await registry[Symbol.asyncDispose]();
    await folder.remove();
  });
  /** As `docker login` does. */
  const logIn = (password: string) =>
    writeFile(
      join(folder.path, "config.json"),
      JSON.stringify({
        auths: { [registry.host]: { auth: Buffer.from(`${LOGIN.username}:${password}`).toString("base64") } },
      }),
    );
  const ensure = (image: string, told: string[] = []) =>
    images.ensure(image, undefined, (reason) => void told.push(reason));

  test("are refused without credentials, and with wrong ones, which no message has", async () => {
    await rm(join(folder.path, "config.json"), { force: true });
    const refusal = {
      code: "BAD_USER_INPUT",
      message: expect.stringContaining(`Toolyard's credentials for ${registry.host} are missing or wrong`),
    };
    await expect(ensure(`${repository}:1`)).rejects.toMatchObject(refusal);
    await logIn("a-wrong-password");
    const error: unknown = await ensure(`${repository}:1`).catch((reason: unknown) => reason);
    expect(error).toMatchObject(refusal);
    expect(String(error)).not.toContain("a-wrong-password");
  });

  test("are pulled by who logged in, who is told of it, and need the registry no more", async () => {
    await logIn(LOGIN.password);
    const told: string[] = [];
    const name = await ensure(`${repository}:1`, told);
    expect(name).toBe(`${registry.host}/${repository}:1`);
    expect(told[0]).toMatch(`The image ${name} is being pulled`);
    expect(await images.settingsOf(name)).toEqual({ environment: { SOME: "thing" }, volumes: ["/data"] });
    await logIn("a-wrong-password");
    expect(await ensure(name)).toBe(name);
    const engine = openContainerEngine();
    await engine.ask("DELETE", `/images/${name}`);
    await engine.close();
  });

  test("that do not exist are refused as such", async () => {
    await logIn(LOGIN.password);
    await expect(ensure(`${repository}:2`)).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
      message: expect.stringContaining(`There is no image ${registry.host}/${repository}:2.`),
    });
  });
});
