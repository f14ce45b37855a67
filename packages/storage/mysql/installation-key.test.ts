import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { expect, onTestFinished, test } from "vitest";
import { requireSameKey } from "./installation-key.ts";
import { createScratchDatabase } from "./scratch-database.ts";
import { lockMysqlDatabase } from "./server-lock.ts";

const [FIRST, SECOND, OTHER] = ["1".repeat(40), "2".repeat(40), "3".repeat(40)] as const;

describeOnMysql("the key of all processes on one server", (server) => {
  test("is the first one's; rotated, its successor's", async () => {
    const { url, drop } = await createScratchDatabase(server);
    onTestFinished(drop);
    const settings = { url, ca: null, poolSize: 2 };
    await Promise.all([1, 2, 3].map(() => requireSameKey(settings, [FIRST])));
    const refusal = expect.objectContaining({ name: "ConfigError", message: expect.stringMatching(/^SECRET_KEY: /) });
    await expect(requireSameKey(settings, [OTHER])).rejects.toEqual(refusal);
    await requireSameKey(settings, [SECOND, FIRST]);
    await requireSameKey(settings, [SECOND]);
    await expect(requireSameKey(settings, [FIRST])).rejects.toEqual(refusal);
    await expect(requireSameKey(settings, [OTHER, FIRST])).rejects.toEqual(refusal);
  });

  test("is no key of a process that starts while a command copies an installation there", async () => {
    const { url, drop } = await createScratchDatabase(server);
    onTestFinished(drop);
    const settings = { url, ca: null, poolSize: 2 };
    const lock = await lockMysqlDatabase(settings);
    await expect(requireSameKey(settings, [OTHER])).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await requireSameKey({ ...settings, isAlone: true }, [FIRST]);
    await lock.release();
    await expect(requireSameKey(settings, [OTHER])).rejects.toMatchObject({ name: "ConfigError" });
  });
});
