import { rm } from "node:fs/promises";
import type { Readable } from "node:stream";

import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";

import { hasTooManyValues, MAX_JSON_VALUES } from "@toolyard/service-kit/http/request-body.ts";
import { isObject, isTooNested, MAX_NESTING, parseJson } from "@toolyard/service-kit/json.ts";
import { MAX_BATCH } from "../protocol/era.ts";
import { createFloodGate, type FloodGate, withGate } from "./flood-gate.ts";
import { itemsOf } from "../protocol/json-splice.ts";
import { createLineSplitter } from "../protocol/lines.ts";
import { code as errorCode, errorText, type Message, readMessage } from "../protocol/json-rpc.ts";
import { createLongMessage, type LongMessage } from "../protocol/long-message.ts";
import { howEnded } from "./how-ended.ts";
import type { LineLog } from "./line-log.ts";
import type { SpawnedProcess } from "./spawn.ts";

/** Why something went wrong, in two parts: callers see the first; the log and users who may inspect the replica, both. */
export interface Reason {
  /** In the bridge's own words, as in "the server exited with code 1". */
  reason: string;
  /** In the server's own words, without known secrets: its last line on stderr, or its error; "" when there are none. */
  words: string;
}

/** How a child ended. */
export interface ChildEnd extends Reason {
  code: number | null;
  signal: string | null;
}

/** Both parts, for the log. */
export function inFull({ reason, words }: Reason): string {
  return words === "" ? reason : `${reason}: ${words}`;
}

export interface ChildHandler {
  /** `raw` is the line the message was read from, on one line. */
  onMessage(message: Message, raw: string): void;
  /** Called once, after all its output was read. */
  onEnd(end: ChildEnd): void;
}

/** An MCP server on stdio. It belongs to one handler at a time. */
export interface Child {
  readonly pid: number | undefined;
  readonly startedAt: number;
  readonly end: ChildEnd | null;
  /** Its last output on stdout that is not a message, as far as kept, without known secrets; "": none. */
  readonly printed: string;
  /** Whether it was told to end; its end is then not a failure. */
  readonly closing: boolean;
  /** Messages without a handler are dropped. */
  handle(handler: ChildHandler | null): void;
  /** Writes one message. `text` must be JSON on one line. */
  send(text: string): void;
  /** stdin end → SIGTERM → SIGKILL of the process group. Resolves when it is gone and its folder removed. */
  close(): Promise<void>;
  /** SIGKILL of the process group, at once and synchronously, for the bridge's own exit. */
  kill(): void;
  /** Resolves when it is gone and its folder removed, for whatever reason. */
  readonly gone: Promise<void>;
  /** Names the caller of the next messages, for a child that passes that on. */
  usedBy?(caller: string): void;
}

export interface ChildOptions {
  log: LineLog;
  mask: SecretMask;
  /** The longest message it may write. A longer one fails the call that it answers. */
  maxMessageBytes: number;
  /** How many processes the kernel has ended here for want of memory. */
  memoryKills: () => number;
  /** For the code that counts children: called just before the handler. */
  onEnd?: (end: ChildEnd) => void;
}

/** Opens a child that is not a process of the bridge, under a unique `pid`. */
export type OpenChild = (options: ChildOptions) => Child;

/**
 * Takes the message of a text, or the messages: batches were part of 2025-03-26.
 * @param text One line.
 * @returns How many there are, messages or not; an empty list is one, too.
 */
export function takeMessages(text: string, mask: SecretMask, to: MessageTaker): number {
  // Before anything that takes longer the longer the text is.
  if (itemsOf(text, MAX_BATCH + 1).length > MAX_BATCH) {
    leaveOut(null, `a batch of more than ${MAX_BATCH}`, to);
    return 1;
  }
  const excess = excessOf(text, to);
  if (excess !== null) {
    const long = createLongMessage();
    long.see(Buffer.from(text));
    leaveOut(long, excess, to);
    return 1;
  }
  const value = parseJson(text);
  if (!Array.isArray(value)) {
    takeMessage(value, text, mask, to);
    return 1;
  }
  // Printed, not cut out: the cut of a text keeps all of it in memory.
  for (const item of value) takeMessage(item, JSON.stringify(item), mask, to);
  return Math.max(1, value.length);
}

function excessOf(text: string, { sharesThread }: MessageTaker): string | null {
  if (sharesThread && hasTooManyValues(text)) return `of more than ${MAX_JSON_VALUES} JSON values`;
  return isTooNested(text) ? `nested more than ${MAX_NESTING} levels deep` : null;
}

function takeMessage(item: unknown, raw: string, mask: SecretMask, to: MessageTaker): void {
  const message = readMessage(item);
  if (message === null) return to.other(raw);
  if (!isReport(message)) return to.take(message, raw);
  const masked = mask.json(message);
  const print = JSON.stringify(masked);
  // If nothing was hidden, numbers keep their digits.
  to.take(masked, print === JSON.stringify(message) ? raw : print);
}

export interface MessageTaker {
  /** A flood of lines must not get through it. */
  log: LineLog;
  /** Whether the thread serves others than this server's callers: what takes long to parse is left out. */
  sharesThread: boolean;
  take(message: Message, raw: string): void;
  /** Takes what is no message. */
  other(text: string): void;
  /** Answers the server. */
  reply(text: string): void;
}

/** Tells the caller or the server that waits for a message that it is not passed on. `why` ends a sentence. */
function leaveOut(long: LongMessage | null, why: string, { log, take, reply }: MessageTaker): void {
  log.write("SYSTEM", `a message of the server was ${why} and is left out`);
  if (long === null || long.id === null) return;
  if (long.hasMethod)
    return reply(errorText(long.id, errorCode.serverError, `the request was ${why} and was not passed on`));
  const message = `the server's answer was ${why} and was not passed on; ask for less at once`;
  const answer: Message = { jsonrpc: "2.0", id: long.id, error: { code: errorCode.serverError, message } };
  take(answer, JSON.stringify(answer));
}

/** A child that reads nothing is given up when this many bytes wait for it. */
export const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** Time from stdin's end to SIGTERM, and from there to SIGKILL, in ms. */
const STDIN_GRACE_MS = 700;
const TERM_GRACE_MS = 1_500;
/** Output may still be in the pipes when the process is gone; how long it is waited for. */
const DRAIN_MS = 250;
const MAX_LAST_LINE = 500;
/** Characters kept of a line until the end, when secrets are hidden in it and it is cut. */
const MAX_KEPT_LINE = 64 * 1024;
/** "TypeError: …", "urllib.error.URLError: …", "Error [ERR_MODULE_NOT_FOUND]: …" */
const ERROR_LINE = /^[\w.]*(Error|Exception)( \[\w+\])?: /;
/** The first line of npm and npx that names the error: after a code, before advice and the path of their log. */
const NPM_ERROR_LINE = /^npm (?:error|ERR!) +(?!(?:code|errno|syscall|path|dest|command) |A complete log of )\S/;
const STACK_LINES = 30;
const START_OF_MESSAGE = /^\s*[{[]/;

function describe(code: number | null, signal: string | null, ranOut: boolean): string {
  return `the server ${howEnded({ code, signal })}${ranOut ? " for want of memory (resources.memoryMb in the launch)" : ""}`;
}

/** Errors and log lines, in which servers report on themselves and may print their secrets. Results are theirs to give. */
function isReport({ error, method, result }: Message): boolean {
  return error !== undefined || method === "notifications/message" || (isObject(result) && result.isError === true);
}

export function createChild(options: ChildOptions & { spawned: SpawnedProcess }): Child {
  const { spawned, log, mask, maxMessageBytes, memoryKills, onEnd } = options;
  const { process: child } = spawned;
  let handler: ChildHandler | null = null;
  let end: ChildEnd | null = null;
  let closing = false;
  let outgoing = "";
  let lastLine = "";
  let lastError: string | null = null;
  let lastPrinted = "";
  let sinceError = 0;
  /** Why the bridge itself ended it, when it did so for a fault. */
  let fault: string | null = null;
  const killsBefore = memoryKills();
  let timer: NodeJS.Timeout | null = null;
  let markGone!: () => void;
  const gone = new Promise<void>((resolve) => {
    markGone = resolve;
  });

  function signal(name: NodeJS.Signals): void {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, name);
    } catch (error) {
      // ESRCH: nothing is left in the group, as desired.
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH"))
        log.write("SYSTEM", `cannot signal the server: ${String(error)}`);
    }
  }

  const gateFor = (stream: Readable, name: string): FloodGate =>
    createFloodGate({
      stream,
      onLeftOut: (lines) => log.write("SYSTEM", `${lines} lines of the server's ${name} within a second are left out`),
    });
  const stdoutGate = gateFor(child.stdout, "stdout");
  const stderrGate = gateFor(child.stderr, "stderr");

  const gatedLog = withGate(log, stdoutGate);

  /** Output that is not a message, for people. */
  function printed(line: string): void {
    const text = line.trim();
    if (text !== "") lastPrinted = text.slice(0, MAX_KEPT_LINE);
    gatedLog.write("STDOUT", line);
  }

  const taker: MessageTaker = {
    log: gatedLog,
    sharesThread: false,
    take: (message, raw) => handler?.onMessage(message, raw),
    other: printed,
    reply: write,
  };
  const stdout = createLineSplitter({
    maxBytes: maxMessageBytes,
    watch: createLongMessage,
    onLine(line) {
      // A failed parse takes long, in a flood of lines that are not messages.
      if (!START_OF_MESSAGE.test(line)) return printed(line);
      takeMessages(line, mask, taker);
    },
    onOverflow: (long) => leaveOut(long, `more than ${maxMessageBytes} bytes (maxMessageBytes in the launch)`, taker),
  });
  const stderr = createLineSplitter({
    maxBytes: 1024 * 1024,
    onLine(line) {
      const text = line.trim();
      if (NPM_ERROR_LINE.test(text) ? !NPM_ERROR_LINE.test(lastError ?? "") : ERROR_LINE.test(text)) {
        lastError = text.slice(0, MAX_KEPT_LINE);
        sinceError = 0;
      } else sinceError += 1;
      if (text !== "") lastLine = text.slice(0, MAX_KEPT_LINE);
      if (stderrGate.admits(line.length)) log.write("STDERR", line);
    },
    onOverflow: () => log.write("SYSTEM", "a line on the server's stderr was over 1 MiB and is left out"),
  });

  function shorten(line: string): string {
    return mask.text(line).slice(0, MAX_LAST_LINE);
  }

  function finish(code: number | null, signalName: string | null): void {
    if (end !== null) return;
    if (timer !== null) clearTimeout(timer);
    stdout.end();
    stderr.end();
    // Node ends an uncaught error with its stack and its version; the line that names the error tells more.
    if (lastError !== null && sinceError <= STACK_LINES) lastLine = lastError;
    const words = shorten(lastLine);
    const ranOut = signalName === "SIGKILL" && memoryKills() > killsBefore;
    end = { code, signal: signalName, reason: fault ?? describe(code, signalName, ranOut), words };
    child.stdout.destroy();
    child.stderr.destroy();
    child.stdin.destroy();
    const owner = handler;
    handler = null;
    rm(spawned.folder, { recursive: true, force: true, maxRetries: 3 }).then(markGone, (error: unknown) => {
      log.write("SYSTEM", `cannot remove the server's folder: ${String(error)}`);
      markGone();
    });
    onEnd?.(end);
    owner?.onEnd(end);
  }

  /** Writes the messages that this turn of the event loop gathered: one system call, and one wake-up of the child, for many messages. */
  function flush(): void {
    if (outgoing === "") return;
    const text = outgoing;
    outgoing = "";
    if (end === null && child.stdin.writable) child.stdin.write(text);
  }

  function write(text: string): void {
    if (end !== null || closing) return;
    if (child.stdin.writableLength + outgoing.length > MAX_UNREAD_BYTES) {
      fault = "the server does not read its input and was stopped";
      signal("SIGKILL");
      return;
    }
    if (outgoing === "") setImmediate(flush);
    outgoing += text;
    outgoing += "\n";
  }

  function exited(code: number | null, signalName: string | null): void {
    // Its children must not outlive it.
    signal("SIGKILL");
    stdoutGate.open();
    stderrGate.open();
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(() => finish(code, signalName), DRAIN_MS);
  }

  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A pipe breaks when the child ends; `exit` reports its end.
  child.stdin.on("error", () => undefined);
  child.stdout.on("error", () => undefined);
  child.stderr.on("error", () => undefined);
  child.on("error", (error) => {
    if (child.pid === undefined) fail(error);
  });
  child.on("close", finish);
  function fail(error: Error): void {
    fault = `the server could not be started: ${error.message}`;
    setImmediate(finish, null, null);
  }
  if (spawned.spawnError !== null) fail(spawned.spawnError);
  else if (child.exitCode !== null || child.signalCode !== null) exited(child.exitCode, child.signalCode);
  else child.on("exit", exited);

  return {
    get pid() {
      return child.pid;
    },
    startedAt: spawned.startedAt,
    get end() {
      return end;
    },
    get closing() {
      return closing;
    },
    get printed() {
      return shorten(lastPrinted);
    },
    handle(next) {
      handler = next;
    },
    send: write,
    close() {
      if (!closing) {
        flush();
        closing = true;
        if (end === null && child.exitCode === null && child.signalCode === null) {
          child.stdin.end();
          timer = setTimeout(() => {
            signal("SIGTERM");
            timer = setTimeout(() => signal("SIGKILL"), TERM_GRACE_MS);
          }, STDIN_GRACE_MS);
        }
      }
      return gone;
    },
    kill: () => signal("SIGKILL"),
    gone,
  };
}
