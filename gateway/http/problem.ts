import type { OutgoingHttpHeaders } from "node:http";
import { ToolyardError, problemDetails } from "@toolyard/service-kit";

/** A refusal for which HTTP has a status of its own, which the code BAD_USER_INPUT does not say. */
export class HttpRefusal extends ToolyardError {
  readonly statusCode: 400 | 405 | 406 | 408 | 415 | 426 | 431;

  constructor(statusCode: HttpRefusal["statusCode"], message: string) {
    super("BAD_USER_INPUT", message);
    this.statusCode = statusCode;
  }
}

/** How to authenticate (RFC 6750 and RFC 9728). */
const CHALLENGE = 'Bearer realm="toolyard"';

/** The headers with which a refusal tells its client what to do. */
export function adviceOf(problem: { status: number; retry_after_seconds?: number }): OutgoingHttpHeaders {
  const { retry_after_seconds: retry } = problem;
  return {
    ...(problem.status === 401 && { "www-authenticate": CHALLENGE }),
    ...(retry !== undefined && { "retry-after": String(retry) }),
  };
}

/** An error as an answer in `application/problem+json` (RFC 9457). */
export function problemAnswer(
  error: unknown,
  requestId: string,
): { status: number; headers: OutgoingHttpHeaders; body: string } {
  const details = problemDetails(error, requestId);
  const problem = { ...details, status: error instanceof HttpRefusal ? error.statusCode : details.status };
  const body = JSON.stringify(problem);
  return {
    status: problem.status,
    headers: {
      ...adviceOf(problem),
      "content-type": "application/problem+json",
      "content-length": Buffer.byteLength(body),
      "x-request-id": requestId,
    },
    body,
  };
}
