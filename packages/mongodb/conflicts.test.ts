import mongoose from "mongoose";
import { expect, test } from "vitest";
import { orUnavailable } from "./conflicts.ts";

const { MongoServerError } = mongoose.mongo;

/** Fails so often before it answers. */
function failing(times: number, error: () => Error) {
  let runs = 0;
  return async () => {
    runs += 1;
    if (runs <= times) throw error();
    return runs;
  };
}

test("a write that met another transaction is done again; other failures reach the caller at once, in words", async () => {
  const conflict = () => new MongoServerError({ code: 112, message: "WriteConflict" });
  const gaveUp = () => new MongoServerError({ code: 251, message: "NoSuchTransaction" });
  expect(await orUnavailable(failing(2, conflict))).toBe(3);
  expect(await orUnavailable(failing(1, gaveUp))).toBe(2);
  const stepDown = orUnavailable(failing(1, () => new MongoServerError({ code: 189, message: "stepping down" })));
  await expect(stepDown).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
});
