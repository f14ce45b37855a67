import { findValues } from "@toolyard/bridge/protocol/json-splice.ts";

/** How a call failed in the protocol's terms, whatever its HTTP status: the tool says so by `isError`, or it is a JSON-RPC error. */
export type McpFailure = "RPC_ERROR" | "TOOL_ERROR";

/** The outcome of a call by its answer. */
export interface Outcome {
  readonly failure: McpFailure | null;
  /** The code of that JSON-RPC error, where it stands near its beginning. */
  readonly errorCode: number | null;
  /** Whether there was a result at all. */
  readonly answered: boolean;
  /** Names of the tools that it lists, when it was searched for them. */
  readonly tools: readonly string[];
}

/** Reads a passing answer. Keeps only its own position in it. */
export interface OutcomeWatch extends Outcome {
  /** Whether its events have ids, with which a client may ask for the rest. */
  readonly isResumable: boolean;
  see(chunk: Buffer): void;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;
/** Up to this length, a loop finds the end of a string sooner than a call into native code. */
const SHORT_STRING = 64;
/** Keys that matter are shorter, even when spelled with escapes. */
const MAX_KEY_BYTES = 64;
/** Longer names are not told apart. */
const MAX_NAME_BYTES = 1_024;
/** Of an error, the part that is searched for its code. */
const MAX_ERROR_BYTES = 512;
/** Of one answer. */
const MAX_TOOLS = 2_000;

/** Of one JSON message, or a batch of them. */
export function watchJson({ lists = false } = {}): OutcomeWatch {
  const tools: string[] = [];
  let answered = false;
  let isInTools = false;
  let isName = false;
  let failure: McpFailure | null = null;
  let error = "";
  let depth = 0;
  /** Depth of a message's own members. */
  let level = 1;
  let isInResult = false;
  let isKeyNext = false;
  let isInString = false;
  let isEscaped = false;
  let isKey = false;
  let key = "";
  /** The key whose value comes next. */
  let awaited: "error" | "isError" | "name" | null = null;

  const isWatched = (): boolean =>
    depth === level || (isInResult && depth === level + 1) || (isInTools && depth === level + 3);

  /** Goes on in a string. Answers the index after its end, or the end of the input so far. */
  function skipString(bytes: Buffer, from: number): number {
    let at = from;
    const near = Math.min(bytes.length, from + SHORT_STRING);
    while (at < near) {
      const byte = bytes[at];
      at += 1;
      if (isEscaped) isEscaped = false;
      else if (byte === BACKSLASH) isEscaped = true;
      else if (byte === QUOTE) return endString(bytes, from, at);
    }
    while (at < bytes.length) {
      const quote = bytes.indexOf(QUOTE, at);
      const end = quote === -1 ? bytes.length : quote;
      let before = end;
      while (before > at && bytes[before - 1] === BACKSLASH) before -= 1;
      // An escape left open before counts if only backslashes came since.
      const escapes = end - before + (before === at && isEscaped ? 1 : 0);
      isEscaped = escapes % 2 === 1;
      if (quote === -1) break;
      at = quote + 1;
      if (!isEscaped) return endString(bytes, from, at);
      isEscaped = false;
    }
    if (isKey || isName) keep(bytes, from, bytes.length);
    return bytes.length;
  }

  function keep(bytes: Buffer, from: number, to: number): void {
    const most = isName ? MAX_NAME_BYTES : MAX_KEY_BYTES;
    if (key.length <= most) key += bytes.toString("latin1", from, Math.min(to, from + most + 1));
  }

  function endString(bytes: Buffer, from: number, end: number): number {
    isInString = false;
    if (!isKey && !isName) return end;
    keep(bytes, from, end - 1);
    if (isName && key.length <= MAX_NAME_BYTES) tools.push(unescaped(Buffer.from(key, "latin1").toString()));
    else if (key.includes("\\")) key = unescaped(key);
    if (isName) key = "";
    isKey = isName = false;
    return end;
  }

  return {
    tools,
    get failure() {
      return failure;
    },
    get errorCode() {
      const span = findValues(error, ["code"]).at(-1);
      // At the end of what was kept, a number may be the beginning of one.
      if (span === undefined || span.end === error.length) return null;
      const code = Number(error.slice(span.start, span.end));
      return Number.isSafeInteger(code) ? code : null;
    },
    get answered() {
      return answered;
    },
    isResumable: false,
    see(bytes) {
      let at = 0;
      if (failure === "RPC_ERROR" && error.length < MAX_ERROR_BYTES)
        error += bytes.toString("latin1", 0, MAX_ERROR_BYTES);
      while (at < bytes.length && failure === null) {
        if (isInString) {
          at = skipString(bytes, at);
          continue;
        }
        const byte = bytes[at] as number; // within the bounds
        at += 1;
        if (byte <= 0x20) continue;
        if (awaited !== null) {
          if (awaited === "name") isName = byte === QUOTE && tools.length < MAX_TOOLS;
          else if (awaited === "error" ? byte !== 0x6e : byte === 0x74)
            failure = awaited === "error" ? "RPC_ERROR" : "TOOL_ERROR";
          if (failure === "RPC_ERROR") error = bytes.toString("latin1", at - 1, at - 1 + MAX_ERROR_BYTES);
          awaited = null;
        }
        switch (byte) {
          case QUOTE:
            isInString = true;
            isKey = isKeyNext && isWatched();
            if (isKey || isName) key = "";
            break;
          case 0x3a: // :
            isKeyNext = false;
            if (depth === level && key === "error") awaited = "error";
            else if (depth === level && key === "result") answered = true;
            else if (isInTools && depth === level + 3 && key === "name") awaited = "name";
            else if (isInResult && depth === level + 1 && key === "isError") awaited = "isError";
            break;
          case 0x2c: // ,
            isKeyNext = true;
            break;
          case 0x7b: // {
            if (depth === level) isInResult = key === "result";
            depth += 1;
            isKeyNext = true;
            break;
          case 0x5b: // [
            if (depth === 0) level = 2;
            if (lists && isInResult && depth === level + 1) isInTools = key === "tools";
            depth += 1;
            break;
          case 0x7d: // }
          case 0x5d: // ]
            depth -= 1;
            if (depth === level) isInResult = false;
            if (depth === level + 1) isInTools = false;
            break;
          default:
        }
      }
    },
  };
}

/** Reads an event stream: each event's data. */
export function watchEvents(options: { lists?: boolean } = {}): OutcomeWatch {
  const tools: string[] = [];
  let answered = false;
  let failure: McpFailure | null = null;
  let errorCode: number | null = null;
  let isResumable = false;
  let message = watchJson(options);
  /** The beginning of the line that is being read, until its field is known. */
  let field = "";
  let isData = false;
  let isLineEmpty = true;

  return {
    tools,
    get failure() {
      return failure;
    },
    get errorCode() {
      return errorCode;
    },
    get answered() {
      return answered;
    },
    get isResumable() {
      return isResumable;
    },
    see(bytes) {
      let at = 0;
      while (at < bytes.length) {
        const newline = bytes.indexOf(NEWLINE, at);
        const end = newline === -1 ? bytes.length : newline;
        while (at < end && !isData && field.length < DATA.length) {
          field += String.fromCharCode(bytes[at] as number); // within the bounds
          at += 1;
          isData = field === DATA;
        }
        if (isData && at < end) message.see(bytes.subarray(at, end));
        if (field !== "" && field !== "\r") isLineEmpty = false;
        isResumable ||= field.startsWith("id:");
        if (newline === -1) return;
        if (isLineEmpty) {
          if (failure === null && message.failure !== null) ({ failure, errorCode } = message);
          answered ||= message.answered;
          // One message of a stream is the answer; a server cannot list more tools by sending more.
          if (tools.length === 0) tools.push(...message.tools);
          message = watchJson(options);
        }
        field = "";
        isData = false;
        isLineEmpty = true;
        at = newline + 1;
      }
    },
  };
}

const DATA = "data:";

function unescaped(key: string): string {
  try {
    return String(JSON.parse(`"${key}"`));
  } catch {
    return ""; // not JSON: the client finds out
  }
}
