// Plain JavaScript without dependencies: `npm run up` asks before anything is installed, by whatever Node there is.
import { closeSync, existsSync, openSync } from "node:fs";
import { connect } from "node:net";
import { basename, dirname, join, relative } from "node:path";

/** What `sun_path` holds, less its last byte: Linux has 108, the BSDs and macOS 104. */
const MAX_PATH_BYTES = process.platform === "linux" ? 107 : 103;

export function withShortPath(path, use) {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return use(path);
  if (!existsSync("/proc/self/fd")) return use(relative(process.cwd(), path));
  const folder = openSync(dirname(path), "r");
  try {
    return use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}

export const presenceSocket = (folder) => join(folder, "running.sock");

const ANSWER_MS = 1_000;
const MAX_ANSWER = 4_096;

export async function askPresence(folder) {
  try {
    return readPresence(await answerOf(presenceSocket(folder)));
  } catch {
    return null; // nothing listens there, nothing is there, or it is nothing of Toolyard's
  }
}

function answerOf(path) {
  return new Promise((resolve, reject) => {
    const socket = withShortPath(path, (short) => connect(short));
    const timer = setTimeout(() => socket.destroy(new Error("no answer")), ANSWER_MS);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => {
      text += chunk;
      if (text.length > MAX_ANSWER) socket.destroy(new Error("too long"));
    });
    socket.once("end", () => resolve(text)).once("error", reject);
    socket.once("close", () => {
      clearTimeout(timer);
      reject(new Error("closed"));
    });
  });
}

function readPresence(text) {
  const { url, pid } = JSON.parse(text);
  return Number.isInteger(pid) && URL.canParse(url) ? { url: new URL(url).origin, pid } : null;
}
