/** An HTTP/1 server's answer. */
export interface WireResponse {
  status: number;
  /** "" when it had none; the same for `contentEncoding`. */
  contentType: string;
  contentEncoding: string;
  /** Decoded as UTF-8. */
  body: string;
  /** Whether the connection may be used for another request. */
  keepsAlive: boolean;
  /** How long the server says that it keeps an idle connection; null when it does not say. */
  keepAliveMs: number | null;
}

/** Takes a connection's bytes as they come and gives the responses that are in them, in their order. */
export interface ResponseParser {
  /**
   * Reads `buffer` from `start` to `end`; the buffer may be used again afterwards.
   * @throws WireProblem when the bytes are not HTTP/1, or exceed a limit
   */
  feed(buffer: Buffer, start: number, end: number): void;
  /** The server closed its side. @returns whether that was the end of a response, which is given then */
  finish(): boolean;
  /** Whether a part of a response has come. */
  isWithinResponse(): boolean;
}

/** Why a connection cannot be read on. The message continues "it …". */
export class WireProblem extends Error {
  override readonly name = "WireProblem";
}

export interface ResponseParserOptions {
  maxBodyBytes: number;
  onResponse(response: WireResponse): void;
}

const MAX_HEAD_BYTES = 65_536;
/** A chunk's size with its extensions, or a trailer field. */
const MAX_LINE_BYTES = 16_384;
/** Memory is allocated at once for a body of at most so many bytes. */
const TRUSTED_BYTES = 1_048_576;
const CR = 13;
const LF = 10;

/** A response whose body is still to come. */
interface Head {
  response: WireResponse;
  /** Bytes of the body; -1: in chunks; -2: all until the connection closes. */
  length: number;
}

const CHUNKED = -1;
const UNTIL_CLOSE = -2;

type State = "head" | "length" | "chunk-size" | "chunk" | "chunk-end" | "trailer" | "until-close";

/** A parser of HTTP/1.1 responses to POST (RFC 9112), strict where leniency would make two readers disagree on where a response ends. */
export function createResponseParser({ maxBodyBytes, onResponse }: ResponseParserOptions): ResponseParser {
  let state: State = "head";
  let head: Head | null = null;
  /** Bytes of a head or a line whose end has not come. */
  let held: Buffer | null = null;
  /** The body so far in the first `size` bytes, and how many are still to come of it or of its chunk. */
  let kept: Buffer | null = null;
  let size = 0;
  let left = 0;

  function deliver(body: string): void {
    const { response } = head as Head; // set whenever a body is read
    state = "head";
    head = null;
    kept = null;
    size = 0;
    response.body = body;
    onResponse(response);
  }

  const deliverKept = () => deliver(kept === null ? "" : kept.toString("utf8", 0, size));

  /** All in one buffer that grows: a list of parts takes many times the memory when chunks have one byte. */
  function keep(buffer: Buffer, start: number, end: number): void {
    const next = size + end - start;
    if (next > maxBodyBytes) throw tooLarge();
    if (kept === null || kept.length < next) {
      const whole = state === "length" ? size + left : 0;
      // A server's announced length is not believed beyond a point.
      const larger = Buffer.allocUnsafe(
        Math.max(next, whole <= TRUSTED_BYTES ? whole : 0, Math.min(size * 2, maxBodyBytes)),
      );
      kept?.copy(larger, 0, 0, size);
      kept = larger;
    }
    buffer.copy(kept, size, start, end);
    size = next;
  }

  const tooLarge = () => new WireProblem(`answered more than ${maxBodyBytes} bytes`);

  /** The line from `start`, without its end; null when that has not come yet, and the part that has is held. */
  function line(buffer: Buffer, start: number, end: number): { text: string; next: number } | null {
    const at = buffer.indexOf(LF, start);
    const stop = at < 0 || at >= end ? end : at + 1;
    if ((held?.length ?? 0) + stop - start > MAX_LINE_BYTES)
      throw new WireProblem("answered a chunk with too long a line");
    const bytes = held ? Buffer.concat([held, buffer.subarray(start, stop)]) : buffer.subarray(start, stop);
    if (stop === end && (at < 0 || at >= end)) {
      held = Buffer.from(bytes);
      return null;
    }
    held = null;
    if (bytes[bytes.length - 2] !== CR) throw new WireProblem("answered a line without its carriage return");
    const text = bytes.toString("latin1", 0, bytes.length - 2);
    if (text.includes("\r")) throw new WireProblem("answered a line with a carriage return in it");
    return { text, next: stop };
  }

  /** @returns where the body begins; -1 when the head's end has not come yet, and the part that has is held */
  function readHead(buffer: Buffer, start: number, end: number): number {
    // The end may lie across held and new bytes.
    const before = held?.length ?? 0;
    const bytes = held ? Buffer.concat([held, buffer.subarray(start, end)]) : buffer;
    const from = held ? 0 : start;
    const to = held ? bytes.length : end;
    const at = bytes.indexOf("\r\n\r\n", held ? Math.max(0, before - 3) : start, "latin1");
    if (at < 0 || at + 4 > to) {
      if (to - from > MAX_HEAD_BYTES) throw new WireProblem("answered too long a head");
      // The first bytes tell whether to wait for more.
      if (!"HTTP/1.".startsWith(bytes.toString("latin1", from, Math.min(to, from + 7)))) throw notHttp();
      held = Buffer.from(bytes.subarray(from, to));
      return -1;
    }
    if (at - from > MAX_HEAD_BYTES) throw new WireProblem("answered too long a head");
    head = parseHead(bytes.toString("latin1", from, at));
    held = null;
    return start + (at + 4 - from) - before;
  }

  return {
    feed(buffer, start, end) {
      let at = start;
      while (at < end) {
        switch (state) {
          case "head": {
            const body = readHead(buffer, at, end);
            if (body < 0 || !head) return;
            at = body;
            if (head.response.status < 200) {
              // More follows a 1xx.
              if (head.response.status === 101) throw new WireProblem("wanted to switch protocols");
              head = null;
              continue;
            }
            left = head.length;
            if (left > maxBodyBytes) throw tooLarge();
            if (left === CHUNKED) state = "chunk-size";
            else if (left === UNTIL_CLOSE) state = "until-close";
            else if (end - at >= left) {
              const text = buffer.toString("utf8", at, at + left);
              at += left;
              deliver(text);
            } else state = "length";
            continue;
          }
          case "length":
          case "chunk": {
            const stop = Math.min(end, at + left);
            keep(buffer, at, stop);
            left -= stop - at;
            at = stop;
            if (left > 0) return;
            if (state === "length") deliverKept();
            else state = "chunk-end";
            continue;
          }
          case "chunk-size":
          case "chunk-end":
          case "trailer": {
            const found = line(buffer, at, end);
            if (!found) return;
            at = found.next;
            if (state === "trailer") {
              if (found.text === "") deliverKept();
            } else if (state === "chunk-end") {
              if (found.text !== "") throw new WireProblem("answered a chunk that is longer than it said");
              state = "chunk-size";
            } else {
              left = chunkSize(found.text);
              state = left === 0 ? "trailer" : "chunk";
            }
            continue;
          }
          case "until-close":
            keep(buffer, at, end);
            return;
        }
      }
    },
    finish() {
      if (state !== "until-close") return false;
      deliverKept();
      return true;
    },
    isWithinResponse: () => state !== "head" || held !== null,
  };
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
function parseHead(text: string): Head {
  const statusLineEnd = endOfLine(text, 0);
  const isKnown = text.startsWith("HTTP/1.1 ") || text.startsWith("HTTP/1.0 ");
  // Digits only: "2e2" is a number, too.
  const status = digitAt(text, 9) * 100 + digitAt(text, 10) * 10 + digitAt(text, 11);
  const isComplete = statusLineEnd === 12 || text[12] === " ";
  if (!isKnown || !isComplete || !(status >= 100 && status <= 599)) throw notHttp();
  const isOld = text[7] === "0";
  const response: WireResponse = {
    status,
    contentType: "",
    contentEncoding: "",
    body: "",
    keepsAlive: !isOld,
    keepAliveMs: null,
  };
  let length = UNTIL_CLOSE;
  let transferEncoding = "";
  let isLast = false;
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
          else if (options.includes("keep-alive")) response.keepsAlive = true;
        } else if (name === "keep-alive") {
          const seconds = /(?:^|[,;\s])timeout=(\d{1,6})/i.exec(text.slice(colon + 1, stop))?.[1];
          if (seconds !== undefined) response.keepAliveMs = Number(seconds) * 1_000;
        }
        break;
      }
      case 12:
        if (isNamed(text, at, "content-type")) response.contentType = text.slice(colon + 1, stop).trim();
        break;
      case 14:
        if (isNamed(text, at, "content-length")) {
          const value = /^[ \t]*(\d{1,15})[ \t]*$/.exec(text.slice(colon + 1, stop))?.[1];
          const given = value === undefined ? -1 : Number(value);
          if (given < 0 || (length >= 0 && length !== given))
            throw new WireProblem("answered an invalid content length");
          length = given;
        }
        break;
      case 16:
        if (isNamed(text, at, "content-encoding"))
          response.contentEncoding = text
            .slice(colon + 1, stop)
            .trim()
            .toLowerCase();
        break;
      case 17:
        if (isNamed(text, at, "transfer-encoding"))
          transferEncoding += `,${text
            .slice(colon + 1, stop)
            .trim()
            .toLowerCase()}`;
        break;
    }
    at = stop + 2;
  }
  if (transferEncoding !== "") {
    // Two ways of saying where it ends are a way of hiding one response in another.
    if (length >= 0) throw new WireProblem("answered both a content length and a transfer encoding");
    if (transferEncoding !== ",chunked")
      throw new WireProblem("answered in a transfer encoding that was not asked for");
    length = CHUNKED;
    // An HTTP/1.0 server does not know chunks: an intermediary may have got it wrong.
    if (isOld) isLast = true;
  }
  if (status === 204 || status === 304) length = 0;
  if (isLast || length === UNTIL_CLOSE) response.keepsAlive = false;
  return { response, length };
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

function isBlankAt(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 32 || code === 9;
}

function isNamed(text: string, at: number, name: string): boolean {
  return text.slice(at, at + name.length).toLowerCase() === name;
}
