import { STATUS_CODES } from "node:http";
import { StreamError } from "@toolyard/proxy/legacy/event-stream.ts";
import { ImpostorError } from "@toolyard/runtimes/endpoint/connector.ts";
import { messageOf, systemCodeOf } from "@toolyard/service-kit";
import { PrivateAddressError } from "@toolyard/service-kit/http/remote-addresses.ts";
import type { Launch } from "@toolyard/launch";
import { isObject, parseJson } from "@toolyard/service-kit/json.ts";
import { asSentence, type Reason } from "../reason.ts";
import type { Limit } from "./probe-limit.ts";

/** The answer to one request of a probe: enough of it to tell what sort of server gave it. */
export interface Answer {
  /** The JSON-RPC method that was asked. */
  asked: string;
  status: number;
  contentType: string | null;
  /** The target of its redirect; `isCircle`: a redirect that leads back to itself. */
  location: string | null;
  isCircle: boolean;
  /** The beginning of the body. */
  text: string;
}

/** The server that a reason is about, which tells what its reader can change. */
export interface Asked {
  kind: Launch["kind"];
  /** Of an image's container, as the launch says it. */
  port: number | null;
  /** Whether the launch sends headers of its own. */
  hasHeaders: boolean;
}

/** A failed call, with Toolyard's own sentence about it. */
export class ProbeError extends Error implements Reason {
  override readonly name = "ProbeError";
  readonly reason: string;
  readonly words: string | null;
  /** The limit within which nothing came, as from a busy server, too; null when something came. */
  readonly late: Limit | null;
  constructor({ reason, words }: Reason, late: Limit | null = null) {
    super(reason);
    this.reason = reason;
    this.words = words;
    this.late = late;
  }
}

/** The failure of a server that did not answer in time. */
export function tooSlow(asked: string, limit: Limit): ProbeError {
  const { seconds, setting } = limit;
  const reason = `It did not answer ${asked} within ${Math.round(seconds * 10) / 10} s (${setting}).`;
  return new ProbeError({ reason, words: null }, limit);
}

/** Generous, since secrets are hidden later, and a cut would leave half of one. */
const LONGEST_WORDS = 64 * 1024;
/** Answers of nginx, Go and Apache to plain HTTP on a TLS port. */
const WANTS_TLS =
  /plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|speaking plain HTTP to an SSL/i;
const WEB_PAGE = /^\s*(?:<!doctype html|<html[\s>])/i;
/** The first event of the transport of revision 2024-11-05. */
const OLD_TRANSPORT = /^event: ?endpoint\s*$/m;

/** Why an answer is not an MCP server's; null when it looks like one. */
export function whyRefused(
  { asked, status, contentType, location, isCircle, text }: Answer,
  { kind, hasHeaders }: Asked,
): Reason | null {
  const isRemote = kind === "remote";
  const place = isRemote ? "the launch's url" : "the launch's path";
  const type = (contentType ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const isPage = type === "text/html" || WEB_PAGE.test(text);
  const http = `HTTP ${status}${STATUS_CODES[status] === undefined ? "" : ` (${STATUS_CODES[status]})`}`;
  const toldWhy = isPage || text.trim() === "" ? null : said(text);
  if (isCircle) return { reason: `It redirects in a circle (HTTP ${status}).`, words: null };
  if (status >= 300 && status < 400)
    return {
      reason: `It redirects to another address (HTTP ${status}), which is not followed: ${isRemote ? "make that the launch's url" : "its MCP endpoint must be at its own address"}.`,
      words: location === null ? null : `It leads to ${location.slice(0, LONGEST_WORDS)}`,
    };
  if (WANTS_TLS.test(text)) return { reason: wantsTls(isRemote), words: null };
  switch (status) {
    case 401: {
      const missing = hasHeaders
        ? "It does not accept the credentials that it was sent (HTTP 401): check the launch's headers."
        : "It wants credentials (HTTP 401) and was sent none: name them in the launch's headers.";
      const unwanted = "It wants credentials (HTTP 401), but Toolyard calls servers that it starts without any.";
      return { reason: isRemote ? missing : unwanted, words: toldWhy };
    }
    case 403:
      return {
        reason: isRemote
          ? `It refuses Toolyard (HTTP 403): check what the credentials in the launch's headers may do.`
          : `It refuses Toolyard (HTTP 403): it must take calls to 127.0.0.1 and its own port.`,
        words: toldWhy,
      };
    case 404:
    case 410:
      return { reason: `It has nothing at ${place} (HTTP ${status}): that must be its MCP endpoint.`, words: toldWhy };
    case 405:
      return { reason: `It takes no POST at ${place} (HTTP 405): that must be its MCP endpoint.`, words: toldWhy };
    case 429:
      return { reason: "It refused because it was asked too often (HTTP 429).", words: toldWhy };
  }
  if (status >= 500) return { reason: `It answered ${asked} with ${http}: a fault on its side.`, words: toldWhy };
  if (status >= 400) return { reason: `It answered ${asked} with ${http}.`, words: toldWhy };
  if (isPage)
    return { reason: `It answered ${asked} with a web page: ${place} must be its MCP endpoint.`, words: null };
  if (type === "text/event-stream") return whyOfStream(asked, text);
  if (text.trim() === "") return { reason: `It took ${asked} and answered nothing (HTTP ${status}).`, words: null };
  if (type !== "application/json")
    return {
      reason: `It answered ${asked} with something that is neither JSON nor an event stream.`,
      words: said(text),
    };
  return whyOfJson(asked, text);
}

function whyOfStream(asked: string, text: string): Reason | null {
  if (OLD_TRANSPORT.test(text))
    return { reason: "It speaks the transport HTTP+SSE of revision 2024-11-05, and not Streamable HTTP.", words: null };
  return /^data:/m.test(text)
    ? null
    : { reason: `It answered ${asked} with an event stream that ended without an answer.`, words: null };
}

function whyOfJson(asked: string, text: string): Reason | null {
  const value = parseJson(text);
  if (value === undefined)
    return { reason: `It answered ${asked} with text that is not JSON, though it says so.`, words: said(text) };
  if (!isObject(value) || value["jsonrpc"] !== "2.0")
    return { reason: `It answered ${asked} with JSON that is not JSON-RPC.`, words: said(text) };
  if (!("error" in value)) return null;
  const { error } = value;
  const message = isObject(error) && "message" in error ? String(error["message"]) : "";
  return { reason: `It answered ${asked} with an error.`, words: message === "" ? null : said(message) };
}

/** Why a call failed, in Toolyard's words. */
export function describeFailure(error: unknown, asked: Asked): Reason {
  const causes = causesOf(error);
  const own = causes.find((cause) => cause instanceof ProbeError);
  if (own) return own;
  const stream = causes.find((cause) => cause instanceof StreamError);
  if (stream) return { reason: sentence(stream.message), words: null };
  const refused = causes.find((cause) => cause instanceof PrivateAddressError || cause instanceof ImpostorError);
  if (refused instanceof Error) return { reason: refused.message, words: null };
  const network = causes.map((cause) => whyOfNetwork(systemCodeOf(cause), cause, asked)).find((why) => why !== null);
  if (network !== undefined) return { reason: network, words: null };
  return { reason: "It did not answer as MCP servers do.", words: said(messageOf(error)) };
}

/** Of Node's and OpenSSL's codes: https://nodejs.org/api/tls.html#x509-certificate-error-codes */
function whyOfNetwork(code: string | null, cause: unknown, { kind, port }: Asked): string | null {
  const isRemote = kind === "remote";
  // undici's parser has no code for some unreadable input.
  if (cause instanceof Error && cause.name === "HTTPParserError")
    return speaksTls(cause) ? wantsTls(isRemote) : "Its answer is not HTTP.";
  switch (code) {
    case null:
      return null;
    case "ECONNREFUSED":
      if (isRemote) return "Nothing listens at its host and port (connection refused).";
      if (port !== null) return `Nothing listens on port ${port} of its container. ${whichPort(port)}`;
      return kind === "http" ? "Nothing listens on the port that it was given in PORT." : NOT_LISTENING;
    case "ENOENT":
      return NOT_LISTENING;
    case "ECONNRESET":
    case "EPIPE":
    case "UND_ERR_SOCKET":
      return isRemote
        ? "It closed the connection without an answer; if it speaks TLS, its URL must begin with https://."
        : port === null
          ? "It closed the connection without an answer."
          : // Engines that forward a port take the connection themselves.
            `It closed the connection without an answer, as when nothing listens on port ${port} of its container. ${whichPort(port)}`;
    case "ENOTFOUND":
      return "Its host name is not known.";
    case "EAI_AGAIN":
      return "Its host name could not be looked up: the name servers do not answer.";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "Its host cannot be reached.";
    case "ETIMEDOUT":
    case "UND_ERR_CONNECT_TIMEOUT":
      return "Connecting to it took too long.";
    case "CERT_HAS_EXPIRED":
      return "Its certificate has expired (CERT_HAS_EXPIRED).";
    case "CERT_NOT_YET_VALID":
      return "Its certificate is not valid yet (CERT_NOT_YET_VALID): check the clocks.";
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return "Its certificate is for another name than the URL's (ERR_TLS_CERT_ALTNAME_INVALID).";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return `Its certificate comes from an issuer that is not trusted here (${code}): the operator can add it by NODE_EXTRA_CA_CERTS.`;
  }
  // OpenSSL's reason has been in the code since Node 12, and in the message alone where the code is EPROTO.
  const text = `${code} ${messageOf(cause)}`;
  if (/WRONG_VERSION_NUMBER|wrong version number|packet length too long|http request/i.test(text))
    return "It does not speak TLS at that port: its URL must begin with http://, or name another port.";
  if (/CERT|TLS|SSL|SIGNED|UNABLE_TO_|EPROTO/.test(code)) return `Its certificate or TLS is not accepted (${code}).`;
  return null;
}

const NOT_LISTENING = "Nothing listens where it should answer.";

function whichPort(port: number): string {
  return `The launch's port (register --port) must be the server's, or the server listen on ${port}, as PORT tells it, on all addresses.`;
}

function wantsTls(isRemote: boolean): string {
  return isRemote
    ? "It speaks TLS at that port: its URL must begin with https://."
    : "It speaks TLS, and Toolyard calls servers that it starts by plain HTTP.";
}

/** undici's parser keeps the unreadable bytes: a TLS alert is a record of type 21, of version 3. */
function speaksTls(cause: unknown): boolean {
  const data = cause instanceof Error && "data" in cause ? cause.data : null;
  return typeof data === "string" && data.startsWith("\u0015\u0003");
}

/** The beginning of every reason of a running server that has shown nothing yet. */
export const NOT_YET = "It was started and has not answered yet";
const INSTALLER = /(?:^|\/)(npx|uvx|bunx|pnpx|pipx)$/;

/** Why a running server on stdio has not answered yet, as far as can be seen. */
export function whyNotYet(launch: Launch, printed: string): Reason {
  if (printed !== "")
    return {
      reason: "It has not answered yet. It prints text on stdout, where only MCP messages may be.",
      words: asSentence(`It printed: ${printed}`),
    };
  const installer = "command" in launch ? INSTALLER.exec(launch.command)?.[1] : undefined;
  return { reason: `${NOT_YET}${installer === undefined ? "." : `; ${installer} may be installing it.`}`, words: null };
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.slice(0, 1).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

export function said(text: string): string {
  return asSentence(`It said: ${text.trim().slice(0, LONGEST_WORDS)}`);
}

/** The error and its causes, bounded; of an aggregate, each of its errors. */
export function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  const open: unknown[] = [error];
  while (open.length > 0 && causes.length < 16) {
    const cause = open.shift();
    if (!(cause instanceof Error)) continue;
    causes.push(cause);
    if (cause instanceof AggregateError) open.push(...(cause.errors as unknown[]));
    open.push(cause.cause);
  }
  return causes;
}
