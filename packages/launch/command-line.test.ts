import { describe, expect, test } from "vitest";
import { commandLineProblems, scriptIndex } from "./command-line.ts";

const problemsOf = (command: string, args: string[] = [], workingDirectory: string | null = null) =>
  commandLineProblems({ command, args, workingDirectory }).map(({ path, message }) => `${path} ${message}`);

describe("a mistake in a command line is told with the way out", () => {
  test.each<[string, Parameters<typeof problemsOf>, RegExp]>([
    ["a whole line", ["node server.mjs"], /^command is a whole.*args: command "node", args \["server.mjs"\]$/],
    ["a whole line of npx", ["npx -y some-package"], /args \["-y","some-package"\]/],
    ["a whole line with a path", ["/usr/bin/node /srv/x.mjs"], /command "\/usr\/bin\/node"/],
    ["a whole line beside args", ["uvx server", ["--port", "1"]], /command "uvx"/],
    ["a line for a shell", ["cd /srv && node x.mjs"], /no shell reads it.*each argument by itself in args$/],
    ["a home folder", ["~/bin/server"], /^command begins with ~/],
    ["a home folder in an argument", ["node", ["~/server.mjs"]], /^args.0 begins with ~/],
    ["a home folder to work in", ["node", [], "~you/x"], /^workingDirectory begins with ~/],
    ["a variable", ["$HOME/bin/server"], /^command begins with \$HOME/],
    ["an editor's variable", ["node", ["${workspaceFolder}/x.mjs"]], /^args.0 begins with \$\{workspaceFolder\}/],
    ["a variable of Windows", ["node", ["%USERPROFILE%\\x.mjs"]], /^args.0 begins with %USERPROFILE%/],
    ["a path of Windows", ["C:\\Program Files\\nodejs\\node.exe"], /^command is a (?:path of Windows|whole)/],
    ["a path of Windows in an argument", ["node", ["C:/x/server.mjs"]], /^args.0 is a path of Windows/],
    ["a program of Windows", ["npx.cmd"], /it is "npx"$/],
    ["the shell of Windows", ["cmd", ["/c", "npx", "-y", "x"]], /^command is the shell of Windows/],
    ["a relative command", ["./server"], /^command is a relative path.*whole path, or the workingDirectory/],
    ["a relative script", ["node", ["--inspect", "dist/server.mjs"]], /^args.1 is a relative path/],
    ["a relative script of Python", ["/usr/bin/python3.12", ["-u", "server.py"]], /^args.1 is a relative path/],
    ["a relative folder to work in", ["node", [], "servers"], /^workingDirectory must be an absolute path/],
    ["a space at the end", ["node "], /^command must not begin or end with spaces/],
  ])("%s", (_what, line, message) => {
    const [problem, ...others] = problemsOf(...line);
    expect(problem).toMatch(message);
    expect(problem).not.toMatch(/\.$|\.\./);
    expect(others).toEqual([]);
  });

  test.each<[string, Parameters<typeof problemsOf>]>([
    ["a program on PATH", ["npx", ["-y", "@scope/package@~1.2", "--dir", "data"]]],
    ["a module of Python", ["python3", ["-m", "server.py"]]],
    ["code", ["node", ["-e", "console.log(1)"]]],
    ["a script after an option's value", ["node", ["--import", "tsx", "server.ts"]]],
    ["a path with a space", ["/opt/My Server/bin/run"]],
    ["relative paths to a folder", ["./server", ["x.mjs"], "/srv"]],
    ["a relative script there", ["node", ["server.mjs"], "/srv/greeter"]],
    ["a script from the web", ["deno", ["run", "https://example.com/server.ts"]]],
    ["a placeholder", ["node", ["/srv/x.mjs", "${config.city}/x", "a~b", "$5", "100%"]]],
  ])("%s is none", (_what, line) => {
    expect(problemsOf(...line)).toEqual([]);
  });

  test("the script is told from options and programs", () => {
    expect(scriptIndex({ command: "/usr/bin/node", args: ["--inspect", "a.mjs", "b.mjs"] })).toBe(1);
    expect(scriptIndex({ command: "deno", args: ["run", "-A", "a.ts"] })).toBe(2);
    expect(scriptIndex({ command: "npx", args: ["a.mjs"] })).toBeNull();
    expect(scriptIndex({ command: "node", args: ["folder", "b.mjs"] })).toBeNull();
  });
});
