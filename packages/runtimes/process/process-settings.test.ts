import { expect, test } from "vitest";
import { process } from "./index.ts";

test.each(["srv", "/srv/a,b"])("folders that launches may name are absolute paths: %s", (paths) => {
  expect(() => process.configure({ REPLICA_PATHS: paths })).toThrow(/^REPLICA_PATHS: must be absolute paths/);
});

test("nothing needs to be set", () => {
  expect(() => process.configure({})).not.toThrow();
});
