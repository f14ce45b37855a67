/** Why a connection cannot be read on. The message continues "it …". */
export class WireProblem extends Error {
  override readonly name = "WireProblem";
}

/** How a response ends, and its connection with it. */
export interface ResponseHead {
  status: number;
  /** Bytes of the body, CHUNKED, or UNTIL_CLOSE. */
  length: number;
  /** Whether the connection may be used for another request. */
  keepsAlive: boolean;
  /** How long the server says that it keeps an idle connection; null when it does not say. */
  keepAliveMs: number | null;
}

const CHUNKED = -1;
const UNTIL_CLOSE = -2;

/** Receives a response as it is read. Buffers may be used again after each call. */
export interface ResponseSink {
  /** A head begins, which may be that of an interim response (1xx). */
  begin(): void;
  /** A field of it: its name from `start` to `colon`, and its value from there to `end`. */
  field(text: string, start: number, colon: number, end: number): void;
  /** Its head is there, and is not an interim one. */
  head(head: ResponseHead): void;
  /** @returns whether it takes more at once */
  body(buffer: Buffer, start: number, end: number): boolean;
  /** It is whole. @returns whether another may follow at once */
  end(): boolean;
}

const MAX_HEAD_BYTES = 65_536;
/** A chunk's size with its extensions, or a trailer field. */
const MAX_LINE_BYTES = 16_384;
/** How much before the server's own idle timeout a connection is closed, as a request may be on its way. Of a second it is half. */
const KEEP_ALIVE_MARGIN_MS = 1_000;
const CR = 13;
const LF = 10;

type State = "head" | "length" | "chunk-size" | "chunk" | "chunk-end" | "trailer" | "until-close";

/** Reads HTTP/1.1 responses to POST and GET (RFC 9112), strict where leniency would make two readers disagree on where a response ends. */
export class ResponseReader {
  private readonly sink: ResponseSink;
  private state: State = "head";
  /** Bytes of a head or a line whose end has not come. */
  private held: Buffer | null = null;
  /** How many are still to come of the body or of its chunk. */
  private left = 0;

  constructor(sink: ResponseSink) {
    this.sink = sink;
  }

  /** Whether a part of a response has come. */
  isWithinResponse(): boolean {
    return this.state !== "head" || this.held !== null;
  }

  /** The server closed its side. @returns whether that was the end of a response, which is given then */
  finish(): boolean {
    if (this.state !== "until-close") return false;
    this.state = "head";
    this.sink.end();
    return true;
  }

  /**
   * Reads `buffer` from `start` to `end`, or until the sink takes no more. The buffer may be used again afterwards.
   * @returns where it stopped
   * @throws WireProblem when the bytes are not HTTP/1
   */
  feed(buffer: Buffer, start: number, end: number): number {
    let at = start;
    let goesOn = true;
    while (at < end && goesOn) {
      switch (this.state) {
        case "head": {
          const next = this.readHead(buffer, at, end);
          if (next < 0) return end;
          at = next;
          // What has no body ends with its head. (readHead has changed the state.)
          goesOn = this.left !== 0 || this.isHeadNext() || this.end();
          break;
        }
        case "length":
        case "chunk": {
          const stop = Math.min(end, at + this.left);
          const isChunk = this.state === "chunk";
          this.left -= stop - at;
          if (this.left === 0 && isChunk) this.state = "chunk-end";
          goesOn = this.sink.body(buffer, at, stop);
          at = stop;
          if (this.left === 0 && !isChunk) goesOn = this.end() && goesOn;
          break;
        }
        case "until-close":
          goesOn = this.sink.body(buffer, at, end);
          at = end;
          break;
        default: {
          const found = this.line(buffer, at, end);
          if (!found) return end;
          at = found.next;
          goesOn = this.readLine(found.text);
        }
      }
    }
    return at;
  }

  private isHeadNext(): boolean {
    return this.state === "head";
  }

  private end(): boolean {
    this.state = "head";
    return this.sink.end();
  }

  private readLine(text: string): boolean {
    if (this.state === "trailer") {
      // Trailers go on to nobody.
      this.left += text.length;
      if (this.left > MAX_HEAD_BYTES) throw new WireProblem("answered too long trailers");
      return text !== "" || this.end();
    }
    if (this.state === "chunk-end") {
      if (text !== "") throw new WireProblem("answered a chunk that is longer than it said");
      this.state = "chunk-size";
    } else {
      this.left = chunkSize(text);
      this.state = this.left === 0 ? "trailer" : "chunk";
    }
    return true;
  }

  /** The line from `start`, without its end; null when that has not come yet, and the part that has is held. */
  private line(buffer: Buffer, start: number, end: number): { text: string; next: number } | null {
    const { held } = this;
    const at = buffer.indexOf(LF, start);
    const stop = at < 0 || at >= end ? end : at + 1;
    if ((held?.length ?? 0) + stop - start > MAX_LINE_BYTES)
      throw new WireProblem("answered a chunk with too long a line");
    const bytes = held ? Buffer.concat([held, buffer.subarray(start, stop)]) : buffer.subarray(start, stop);
    if (stop === end && (at < 0 || at >= end)) {
      this.held = Buffer.from(bytes);
      return null;
    }
    this.held = null;
    if (bytes[bytes.length - 2] !== CR) throw new WireProblem("answered a line without its carriage return");
    const text = bytes.toString("latin1", 0, bytes.length - 2);
    if (text.includes("\r")) throw new WireProblem("answered a line with a carriage return in it");
    return { text, next: stop };
  }

  /** @returns where the body begins; -1 when the head's end has not come yet, and the part that has is held */
  private readHead(buffer: Buffer, start: number, end: number): number {
    // The end may lie across held and new bytes.
    const { held } = this;
    const before = held?.length ?? 0;
    const bytes = held ? Buffer.concat([held, buffer.subarray(start, end)]) : buffer;
    const from = held ? 0 : start;
    const to = held ? bytes.length : end;
    const at = bytes.indexOf("\r\n\r\n", held ? Math.max(0, before - 3) : start, "latin1");
    if (at < 0 || at + 4 > to) {
      if (to - from > MAX_HEAD_BYTES) throw new WireProblem("answered too long a head");
      // The first bytes tell whether to wait for more.
      if (!"HTTP/1.".startsWith(bytes.toString("latin1", from, Math.min(to, from + 7)))) throw notHttp();
      this.held = Buffer.from(bytes.subarray(from, to));
      return -1;
    }
    if (at - from > MAX_HEAD_BYTES) throw new WireProblem("answered too long a head");
    const head = parseHead(bytes.toString("latin1", from, at), this.sink);
    this.held = null;
    // More follows a 1xx.
    if (head.status === 101) throw new WireProblem("wanted to switch protocols");
    if (head.status >= 200) {
      this.left = head.length;
      this.state = head.length === CHUNKED ? "chunk-size" : head.length === UNTIL_CLOSE ? "until-close" : "length";
      this.sink.head(head);
    }
    return start + (at + 4 - from) - before;
  }
}

/** How long a connection may be idle, ms, where its server says how long it keeps one. */
export function idleFor(keepAliveMs: number | null, idleMs: number): number {
  if (keepAliveMs === null) return idleMs;
  return Math.min(idleMs, keepAliveMs - Math.min(KEEP_ALIVE_MARGIN_MS, keepAliveMs / 2));
}

function notHttp(): WireProblem {
  return new WireProblem("answered something that is not HTTP/1");
}

function chunkSize(line: string): number {
  const digits = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/.exec(line)?.[1];
  if (digits === undefined) throw new WireProblem("answered a chunk without a size");
  return Number.parseInt(digits, 16);
}

/** @param text the status line and the fields, without the empty line at their end */
function parseHead(text: string, sink: ResponseSink): ResponseHead {
  const statusLineEnd = endOfLine(text, 0);
  const isKnown = text.startsWith("HTTP/1.1 ") || text.startsWith("HTTP/1.0 ");
  // Digits only: "2e2" is a number, too.
  const status = digitAt(text, 9) * 100 + digitAt(text, 10) * 10 + digitAt(text, 11);
  const isComplete = statusLineEnd === 12 || text[12] === " ";
  if (!isKnown || !isComplete || !(status >= 100 && status <= 599)) throw notHttp();
  const isOld = text[7] === "0";
  const head: ResponseHead = { status, length: UNTIL_CLOSE, keepsAlive: !isOld, keepAliveMs: null };
  let transferEncoding = "";
  let isLast = false;
  sink.begin();
  for (let at = statusLineEnd + 2; at < text.length;) {
    const stop = endOfLine(text, at);
    const colon = text.indexOf(":", at);
    if (isBlankAt(text, at)) throw new WireProblem("answered a folded header field");
    // A field whose name ends in a space is that field for some readers, and another one for others.
    if (colon <= at || colon >= stop || isBlankAt(text, colon - 1))
      throw new WireProblem("answered a header field without a name");
    switch (colon - at) {
      case 10: {
        const name = text.slice(at, colon).toLowerCase();
        if (name === "connection") {
          const options = text.slice(colon + 1, stop).toLowerCase();
          if (options.includes("close")) isLast = true;
          else if (options.includes("keep-alive")) head.keepsAlive = true;
        } else if (name === "keep-alive") {
          const seconds = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(text.slice(colon + 1, stop))?.[1];
          if (seconds !== undefined) head.keepAliveMs = Number(seconds) * 1_000;
        }
        break;
      }
      case 14:
        if (isNamed(text, at, "content-length")) {
          const value = /^[ \t]*(\d{1,15})[ \t]*$/.exec(text.slice(colon + 1, stop))?.[1];
          const given = value === undefined ? -1 : Number(value);
          // Said twice, a client could read it as refused, or as a list.
          if (given < 0 || head.length >= 0) throw new WireProblem("answered an invalid content length");
          head.length = given;
        }
        break;
      case 17:
        if (isNamed(text, at, "transfer-encoding"))
          transferEncoding += `,${text
            .slice(colon + 1, stop)
            .trim()
            .toLowerCase()}`;
        break;
    }
    sink.field(text, at, colon, stop);
    at = stop + 2;
  }
  if (transferEncoding !== "") {
    // Two ways of saying where it ends are a way of hiding one response in another.
    if (head.length >= 0) throw new WireProblem("answered both a content length and a transfer encoding");
    if (transferEncoding !== ",chunked")
      throw new WireProblem("answered in a transfer encoding that was not asked for");
    head.length = CHUNKED;
    // An HTTP/1.0 server does not know chunks: an intermediary may have got it wrong.
    if (isOld) isLast = true;
  }
  if (status === 204 || status === 304) head.length = 0;
  if (isLast || head.length === UNTIL_CLOSE) head.keepsAlive = false;
  return head;
}

/** @throws WireProblem for a carriage return or a line feed alone, which end a line for some readers */
function endOfLine(text: string, from: number): number {
  const at = text.indexOf("\r", from);
  const feed = text.indexOf("\n", from);
  if (feed !== (at < 0 ? -1 : at + 1)) throw new WireProblem("answered a header field with a line break in it");
  return at < 0 ? text.length : at;
}

/** @returns NaN where there is no digit */
function digitAt(text: string, at: number): number {
  const digit = text.charCodeAt(at) - 48;
  return digit >= 0 && digit <= 9 ? digit : NaN;
}

export function isBlankAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 32 || code === 9;
}

/** Whether a field has this name, given in lower case. */
export function isNamed(text: string, at: number, name: string): boolean {
  return text.slice(at, at + name.length).toLowerCase() === name;
}
