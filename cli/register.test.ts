import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import type { CommandContext } from "./command.ts";
import { register } from "./commands/register.ts";
import { createTerminal } from "./terminal.ts";

test.each([
  ["console.log(1)", 'node -e "console.log(1)"'],
  ["x".repeat(20_000), `node -e ${"x".repeat(192)}…`],
])("an inline script is registered whole, and shown and described in short", async (script, shown) => {
  let input: unknown;
  const stdout = new PassThrough();
  const context: Pick<CommandContext, "graph" | "terminal" | "hint" | "folder" | "env"> = {
    graph: {
      // As `createTool` answers.
      query: <Data>(_query: string, variables?: Record<string, unknown>) => {
        input = variables?.["input"];
        return Promise.resolve({ createTool: { id: "1", slug: "inline", currentVersion: { number: 1 } } } as Data);
      },
      subscribe: () => expect.unreachable(),
      token: () => expect.unreachable(),
    },
    terminal: createTerminal({ stdin: new PassThrough(), stdout, stderr: new PassThrough() }),
    hint: (command) => command,
    folder: "/",
    env: {},
  };
  const given = { positionals: ["inline"], values: {}, rest: ["node", "-e", script] };
  await register.run(context as CommandContext, given);
  expect(String(stdout.read())).toBe(`Registered inline, version 1: ${shown}\nRun it: deploy inline\n`);
  expect(input).toMatchObject({ description: shown, launch: { stdio: { args: ["-e", script] } } });
});
