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

/** The key whose value comes next. */
type Awaited = "error" | "isError" | "name";

/** A class, since each answer has one: functions of its own would be most of what a small answer costs. */
class JsonWatch implements OutcomeWatch {
  readonly tools: string[] = [];
  readonly isResumable = false;
  answered = false;
  failure: McpFailure | null = null;
  private readonly lists: boolean;
  private isInTools = false;
  private isName = false;
  private error = "";
  private depth = 0;
  /** Depth of a message's own members. */
  private level = 1;
  private isInResult = false;
  private isKeyNext = false;
  private isInString = false;
  private isEscaped = false;
  private isKey = false;
  private key = "";
  private awaited: Awaited | null = null;

  constructor(lists: boolean) {
    this.lists = lists;
  }

  get errorCode(): number | null {
    const error = this.error;
    const span = findValues(error, ["code"]).at(-1);
    // At the end of what was kept, a number may be the beginning of one.
    if (span === undefined || span.end === error.length) return null;
    const code = Number(error.slice(span.start, span.end));
    return Number.isSafeInteger(code) ? code : null;
  }

  private isWatched(): boolean {
    const depth = this.depth;
    const level = this.level;
    return depth === level || (this.isInResult && depth === level + 1) || (this.isInTools && depth === level + 3);
  }

  /** Goes on in a string. Answers the index after its end, or the end of the input so far. */
  private skipString(bytes: Buffer, from: number): number {
    let at = from;
    const near = Math.min(bytes.length, from + SHORT_STRING);
    while (at < near) {
      const byte = bytes[at];
      at += 1;
      if (this.isEscaped) this.isEscaped = false;
      else if (byte === BACKSLASH) this.isEscaped = true;
      else if (byte === QUOTE) return this.endString(bytes, from, at);
    }
    while (at < bytes.length) {
      const quote = bytes.indexOf(QUOTE, at);
      const end = quote === -1 ? bytes.length : quote;
      let before = end;
      while (before > at && bytes[before - 1] === BACKSLASH) before -= 1;
      // An escape left open before counts if only backslashes came since.
      const escapes = end - before + (before === at && this.isEscaped ? 1 : 0);
      this.isEscaped = escapes % 2 === 1;
      if (quote === -1) break;
      at = quote + 1;
      if (!this.isEscaped) return this.endString(bytes, from, at);
      this.isEscaped = false;
    }
    if (this.isKey || this.isName) this.keep(bytes, from, bytes.length);
    return bytes.length;
  }

  private keep(bytes: Buffer, from: number, to: number): void {
    const most = this.isName ? MAX_NAME_BYTES : MAX_KEY_BYTES;
    if (this.key.length <= most) this.key += bytes.toString("latin1", from, Math.min(to, from + most + 1));
  }

  private endString(bytes: Buffer, from: number, end: number): number {
    this.isInString = false;
    if (!this.isKey && !this.isName) return end;
    this.keep(bytes, from, end - 1);
    if (this.isName && this.key.length <= MAX_NAME_BYTES)
      this.tools.push(unescaped(Buffer.from(this.key, "latin1").toString()));
    else if (this.key.includes("\\")) this.key = unescaped(this.key);
    if (this.isName) this.key = "";
    this.isKey = this.isName = false;
    return end;
  }

  see(bytes: Buffer): void {
    let at = 0;
    if (this.failure === "RPC_ERROR" && this.error.length < MAX_ERROR_BYTES)
      this.error += bytes.toString("latin1", 0, MAX_ERROR_BYTES);
    while (at < bytes.length && this.failure === null) {
      if (this.isInString) {
        at = this.skipString(bytes, at);
        continue;
      }
      const byte = bytes[at] as number; // within the bounds
      at += 1;
      if (byte <= 0x20) continue;
      if (this.awaited !== null) {
        if (this.awaited === "name") this.isName = byte === QUOTE && this.tools.length < MAX_TOOLS;
        else if (this.awaited === "error" ? byte !== 0x6e : byte === 0x74)
          this.failure = this.awaited === "error" ? "RPC_ERROR" : "TOOL_ERROR";
        if (this.failure === "RPC_ERROR") this.error = bytes.toString("latin1", at - 1, at - 1 + MAX_ERROR_BYTES);
        this.awaited = null;
      }
      switch (byte) {
        case QUOTE:
          this.isInString = true;
          this.isKey = this.isKeyNext && this.isWatched();
          if (this.isKey || this.isName) this.key = "";
          break;
        case 0x3a: // :
          this.isKeyNext = false;
          if (this.depth === this.level && this.key === "error") this.awaited = "error";
          else if (this.depth === this.level && this.key === "result") this.answered = true;
          else if (this.isInTools && this.depth === this.level + 3 && this.key === "name") this.awaited = "name";
          else if (this.isInResult && this.depth === this.level + 1 && this.key === "isError") this.awaited = "isError";
          break;
        case 0x2c: // ,
          this.isKeyNext = true;
          break;
        case 0x7b: // {
          if (this.depth === this.level) this.isInResult = this.key === "result";
          this.depth += 1;
          this.isKeyNext = true;
          break;
        case 0x5b: // [
          if (this.depth === 0) this.level = 2;
          if (this.lists && this.isInResult && this.depth === this.level + 1) this.isInTools = this.key === "tools";
          this.depth += 1;
          break;
        case 0x7d: // }
        case 0x5d: // ]
          this.depth -= 1;
          if (this.depth === this.level) this.isInResult = false;
          if (this.depth === this.level + 1) this.isInTools = false;
          break;
        default:
      }
    }
  }
}

/** Of one JSON message, or a batch of them. */
export function watchJson({ lists = false } = {}): OutcomeWatch {
  return new JsonWatch(lists);
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
