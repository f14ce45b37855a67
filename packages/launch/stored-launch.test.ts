import { expect, test } from "vitest";
import { launchInput } from "./launch-input.ts";
import { launchSchema } from "./launch.ts";
import { showLaunch, type StoredLaunch } from "./stored-launch.ts";

const before: StoredLaunch = {
  kind: "stdio",
  command: "node",
  args: ["$${config.price}", "${config.city}", "$${HOME}"],
  env: [{ name: "PRICE", value: "$${config.price}", secret: false }],
  workingDirectory: null,
  sessions: "ISOLATED",
  options: launchSchema.parse({ kind: "stdio", command: "node" }).options as StoredLaunch["options"],
};

test("a launch of before there was an escape is shown as it is written today, so that it can be sent back", () => {
  expect(showLaunch(before, { showValues: true })).toMatchObject({
    args: ["$$${config.price}", "${config.city}", "$${HOME}"],
    env: [{ name: "PRICE", value: "$$${config.price}" }],
  });
});

test("a launch is shown as it was written, and not how it is stored", () => {
  const shown = showLaunch({ ...before, escapes: true }, { showValues: true });
  expect(shown).toMatchObject({ args: before.args, env: before.env });
  expect(shown).not.toHaveProperty("escapes");
});

test("neither a command nor a folder takes a placeholder, escaped or not", () => {
  for (const text of ["${config.city}", "$${config.city}"])
    for (const field of ["command", "workingDirectory"])
      expect(launchInput.safeParse({ stdio: { command: "node", [field]: text } }).success).toBe(false);
});
