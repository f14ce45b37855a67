import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import {
  isNamed,
  ResponseReader,
  WireProblem,
  type ResponseHead,
  type ResponseSink,
} from "@toolyard/service-kit/http/wire/response-reader.ts";

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

export interface ResponseParserOptions {
  maxBodyBytes: number;
  onResponse(response: WireResponse): void;
}

/** Memory is allocated at once for a body of at most so many bytes: a server's announced length is not believed beyond. */
const TRUSTED_BYTES = 1_048_576;

/** A parser of whole responses. */
export function createResponseParser(options: ResponseParserOptions): ResponseParser {
  return new ResponseReader(new WholeResponse(options));
}

class WholeResponse implements ResponseSink {
  private readonly options: ResponseParserOptions;
  private contentType = "";
  private contentEncoding = "";
  private current: ResponseHead | null = null;
  /** The body, where it came in one piece. */
  private text = "";
  /** The body so far, where it comes in several. */
  private readonly kept = new ByteCollector();

  constructor(options: ResponseParserOptions) {
    this.options = options;
  }

  begin(): void {
    this.contentType = this.contentEncoding = "";
  }

  field(text: string, start: number, colon: number, end: number): void {
    const length = colon - start;
    if (length === 12 && isNamed(text, start, "content-type")) this.contentType = text.slice(colon + 1, end).trim();
    else if (length === 16 && isNamed(text, start, "content-encoding"))
      this.contentEncoding = text
        .slice(colon + 1, end)
        .trim()
        .toLowerCase();
  }

  head(head: ResponseHead): void {
    if (head.length > this.options.maxBodyBytes) throw this.tooLarge();
    this.current = head;
    this.text = "";
    this.kept.take();
  }

  body(buffer: Buffer, start: number, end: number): boolean {
    if (this.kept.length === 0 && end - start === this.current?.length) this.text = buffer.toString("utf8", start, end);
    else this.keep(buffer, start, end);
    return true;
  }

  end(): boolean {
    const { current, kept, contentType, contentEncoding } = this;
    const { status, keepsAlive, keepAliveMs } = current as ResponseHead; // set whenever a response ends
    const body = kept.length === 0 ? this.text : kept.take().toString("utf8");
    this.current = null;
    this.options.onResponse({ status, contentType, contentEncoding, body, keepsAlive, keepAliveMs });
    return true;
  }

  private keep(buffer: Buffer, start: number, end: number): void {
    if (this.kept.length + end - start > this.options.maxBodyBytes) throw this.tooLarge();
    const whole = this.current?.length ?? 0;
    this.kept.copy(buffer, start, end, whole <= TRUSTED_BYTES ? whole : 0);
  }

  private tooLarge(): WireProblem {
    return new WireProblem(`answered more than ${this.options.maxBodyBytes} bytes`);
  }
}
