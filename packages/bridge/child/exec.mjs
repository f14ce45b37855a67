// Becomes the command that its arguments name (file, then argv from 0 on), with the environment that it inherits as JSON:
// see execCommand. Plain JavaScript, because it delays each start.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

const inherited = 3;
const environment = JSON.parse(readFileSync(inherited, "utf8"));
closeSync(inherited);

/** `execvp` gives those to the shell; the `execve` behind process.execve fails. */
function isScriptWithoutInterpreter(file) {
  const start = Buffer.alloc(2);
  try {
    const opened = openSync(file);
    readSync(opened, start);
    closeSync(opened);
  } catch {
    // Executable but not readable, or gone: for `execve` to say.
    return false;
  }
  return /^[\s\x20-\x7e]{2}$/.test(start.toString("latin1")) && start.toString() !== "#!";
}

const [file, ...argv] = process.argv.slice(2);
if (isScriptWithoutInterpreter(file)) process.execve("/bin/sh", ["sh", file, ...argv.slice(1)], environment);
process.execve(file, argv, environment);
