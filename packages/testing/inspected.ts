import { readdir, readlink } from "node:fs/promises";
import { once } from "node:events";
import { WebSocket } from "ws";
import { eventually } from "./eventually.ts";

/** What a process holds once its garbage is collected. */
export interface Held {
  /** Timers that are still to fire, also those that keep no process alive. */
  timers: number;
  /** How many there are of each kind: a file's path, or `socket`, `pipe` and such. */
  descriptors: Record<string, number>;
  /** Bytes of the heap and outside it. */
  memory: number;
}
export interface InspectedProcess {
  held(): Promise<Held>;
  close(): void;
}

/** For NODE_OPTIONS of what is to be inspected: SIGUSR1 opens the inspector on any free port. */
export const INSPECTABLE = "--inspect-port=0";

/**
 * Opens the inspector of a Node process, once. It is on port 9229 unless the process has INSPECTABLE. Linux only.
 * @param output All that it has printed; of several that print to one place only one may be opened at a time
 */
export async function inspectProcess(pid: number, output: () => string): Promise<InspectedProcess> {
  const before = output().length;
  process.kill(pid, "SIGUSR1");
  const [, url = ""] = await eventually("the inspector", () => {
    const printed = output().slice(before);
    const found = /Debugger listening on (ws:\S+)\n/.exec(printed);
    if (found === null) throw new Error(`${pid} has printed: ${printed}`);
    return found;
  });
  const socket = new WebSocket(url, { perMessageDeflate: false });
  await once(socket, "open");
  const answers = new Map<number, PromiseWithResolvers<never>>();
  socket.once("close", () => answers.forEach(({ reject }) => reject(new Error(`Process ${pid} ended.`))));
  socket.on("message", (data: Buffer) => {
    // As the Chrome DevTools protocol has it.
    const { id, result } = JSON.parse(data.toString()) as { id?: number; result: never };
    if (id === undefined) return;
    answers.get(id)?.resolve(result);
    answers.delete(id);
  });
  let last = 0;
  async function send<Result>(method: string, params: object = {}): Promise<Result> {
    const id = ++last;
    const answer = Promise.withResolvers<never>();
    answers.set(id, answer);
    socket.send(JSON.stringify({ id, method, params }));
    return answer.promise;
  }
  async function evaluate<Value>(expression: string): Promise<Value> {
    const { result } = await send<{ result: { value: Value } }>("Runtime.evaluate", {
      expression,
      returnByValue: true,
    });
    return result.value;
  }
  async function timers(): Promise<number> {
    const objectGroup = "timers";
    const expression =
      "(() => { const timer = setTimeout(() => {}); clearTimeout(timer); return Object.getPrototypeOf(timer); })()";
    const { result } = await send<{ result: { objectId: string } }>("Runtime.evaluate", { expression, objectGroup });
    const { objects } = await send<{ objects: { objectId: string } }>("Runtime.queryObjects", {
      prototypeObjectId: result.objectId,
      objectGroup,
    });
    const counted = await send<{ result: { value: number } }>("Runtime.callFunctionOn", {
      objectId: objects.objectId,
      functionDeclaration: "function () { return this.filter((timer) => timer._destroyed === false).length; }",
      returnByValue: true,
    });
    await send("Runtime.releaseObjectGroup", { objectGroup });
    return counted.result.value;
  }
  return {
    async held() {
      await send("HeapProfiler.collectGarbage");
      const memory = await evaluate<number>("(({ heapUsed, external }) => heapUsed + external)(process.memoryUsage())");
      return { timers: await timers(), descriptors: await descriptorsOf(pid), memory };
    },
    close: () => socket.terminate(),
  };
}

async function descriptorsOf(pid: number): Promise<Record<string, number>> {
  const folder = `/proc/${pid}/fd`;
  const paths = (await readdir(folder)).map((name) => readlink(`${folder}/${name}`).catch(() => "")); // closed meanwhile
  // As in `socket:[4026531840]`.
  const kinds = (await Promise.all(paths)).map((path) => path.replace(/:\[\d+\]$/, ""));
  return Object.fromEntries([...Map.groupBy(kinds, (kind) => kind)].map(([kind, all]) => [kind, all.length]));
}
